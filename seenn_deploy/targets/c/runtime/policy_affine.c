/* A factor and an offset for each channel. */
static void net_policy_affine_${token}_${y}(const net_policy_affine_t *how, const int32_t *factor,
                                            const int32_t *offset, const ${x}_t *x, ${y}_t *y)
{
    for (int32_t pixel = 0; pixel < how->pixels; ++pixel) {
        for (int32_t channel = 0; channel < how->channels; ++channel) {
            const int64_t value = (int32_t)*x++${plus};
            *y++ = (${y}_t)net_policy_rescaled(value * factor[channel] + offset[channel],
                                              how->shift, how->low, how->high);
        }
    }
}
