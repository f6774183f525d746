/* The largest current of each window. What lies in the padding is none. */
static void net_largest_${sum}(const net_pool_t *pool, const ${sum}_t *bias, const uint16_t *row,
                               ${sum}_t *sums, ${sum}_t *largest)
{
    const int32_t channels = pool->channels;
    if (bias != NULL) {
        for (int32_t pixel = 0; pixel < pool->height * pool->width; ++pixel) {
            const int32_t first = row == NULL ? 0 : row[pixel] * channels;
            net_row_${sum}_${sum}(sums + pixel * channels, bias + first, (uint32_t)channels, 1);
        }
    }
    for (int32_t y = 0; y < pool->out_height; ++y) {
        for (int32_t x = 0; x < pool->out_width; ++x) {
            ${sum}_t *found = largest + (y * pool->out_width + x) * channels;
            const int32_t top = y * pool->stride_y - pool->padding_y;
            const int32_t left = x * pool->stride_x - pool->padding_x;
            int32_t seen = 0;
            for (int32_t i = top < 0 ? 0 : top; i < top + pool->window_y && i < pool->height; ++i) {
                for (int32_t j = left < 0 ? 0 : left;
                     j < left + pool->window_x && j < pool->width; ++j) {
                    const ${sum}_t *current = sums + (i * pool->width + j) * channels;
                    for (int32_t channel = 0; channel < channels; ++channel) {
                        if (seen == 0 || current[channel] > found[channel]) {
                            found[channel] = current[channel];
                        }
                    }
                    seen = 1;
                }
            }
        }
    }
}
