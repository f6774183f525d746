/* The average of each window: its sum with a factor. */
static void net_policy_average_${token}_${y}(const net_policy_average_t *how, const ${x}_t *x,
                                             ${y}_t *y)
{
    const int32_t line = how->width * how->channels;
    for (int32_t at = 0; at < how->out_height * how->out_width; ++at) {
        const int32_t top = at / how->out_width * how->window_y;
        const int32_t left = at % how->out_width * how->window_x;
        for (int32_t channel = 0; channel < how->channels; ++channel) {
            const ${x}_t *seen = x + top * line + left * how->channels + channel;
            int32_t total = 0;
            for (int32_t i = 0; i < how->window_y; ++i) {
                for (int32_t j = 0; j < how->window_x; ++j) {
                    total += (int32_t)seen[i * line + j * how->channels]${plus};
                }
            }
            *y++ = (${y}_t)net_policy_rescaled((int64_t)total * how->factor, how->shift, how->low,
                                              how->high);
        }
    }
}
