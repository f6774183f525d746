/* One event before a matrix whose rows are shared by the pixels of a window. */
static void net_pooled_${weight}_${sum}(const net_pooled_t *pooled, const ${weight}_t *weight,
                                        uint32_t at, int32_t value, ${sum}_t *sums)
{
    const uint32_t pixel = at / pooled->channels;
    const uint32_t down = pixel / pooled->width / pooled->window_y;
    const uint32_t right = pixel % pooled->width / pooled->window_x;
    const uint32_t window = down * (pooled->width / pooled->window_x) + right;
    const uint32_t row = window * pooled->channels + at % pooled->channels;
    net_row_${weight}_${sum}(sums, weight + row * pooled->outs, pooled->outs, value);
}
