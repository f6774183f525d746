/* A convolution of the policy network. Its sums have 32 bits, which the compiler proved enough. */
static void net_policy_conv_${token}_${y}(const net_policy_conv_t *how, const int8_t *weight,
                                          const int32_t *bias, const int32_t *factor,
                                          const ${x}_t *x, ${y}_t *y)
{
    const int32_t taps = how->kernel_y * how->kernel_x;
    for (int32_t at = 0; at < how->out_height * how->out_width; ++at) {
        const int32_t top = at / how->out_width * how->stride - how->padding;
        const int32_t left = at % how->out_width * how->stride - how->padding;
        for (int32_t out = 0; out < how->out_channels; ++out) {
            const int32_t first = out / how->group_outs * how->group_channels;
            int32_t total = bias[out];
            for (int32_t tap = 0; tap < taps; ++tap) {
                const int32_t i = top + tap / how->kernel_x;
                const int32_t j = left + tap % how->kernel_x;
                if (i < 0 || i >= how->height || j < 0 || j >= how->width) {
                    continue;
                }
                const ${x}_t *seen = x + (i * how->width + j) * how->channels + first;
                const int8_t *own = weight + (out * taps + tap) * how->group_channels;
                for (int32_t channel = 0; channel < how->group_channels; ++channel) {
                    total += (int32_t)own[channel] * ((int32_t)seen[channel]${plus});
                }
            }
            *y++ = (${y}_t)net_policy_rescaled((int64_t)total * factor[out], how->shift, how->low,
                                              how->high);
        }
    }
}
