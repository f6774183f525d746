/* Products of two factors that lie in one vector, summed over `summed` pairs of places each. */
static void net_product_${sum}_${place}_${value}(const net_product_t *how, const ${place}_t *left,
                                                 const ${place}_t *right, const ${place}_t *made,
                                                 const ${sum}_t *factors, ${value}_t *products)
{
    for (uint32_t group = 0; group < how->groups; ++group) {
        for (uint32_t row = 0; row < how->rows; ++row) {
            for (uint32_t column = 0; column < how->columns; ++column) {
                uint32_t total = 0;
                for (uint32_t k = 0; k < how->summed; ++k) {
                    const uint32_t a = (group * how->rows + row) * how->summed + k;
                    const uint32_t b = (group * how->summed + k) * how->columns + column;
                    total += (uint32_t)factors[left[a]] * (uint32_t)factors[right[b]];
                }
                products[made[(group * how->rows + row) * how->columns + column]] =
                    (${value}_t)total;
            }
        }
    }
}
