/* The sum of two values, each with its factor. */
static void net_policy_add_${token_a}_${token_b}_${y}(const net_policy_add_t *how, const ${a}_t *a,
                                                      const ${b}_t *b, ${y}_t *y)
{
    for (int32_t i = 0; i < how->count; ++i) {
        const int64_t first = (int32_t)a[i]${plus_a};
        const int64_t second = (int32_t)b[i]${plus_b};
        y[i] = (${y}_t)net_policy_rescaled(first * how->first + second * how->second, how->shift,
                                          how->low, how->high);
    }
}
