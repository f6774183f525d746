/* Adds the sums of a convolution, each of them wrapped to 24 bits first. */
static void net_wrap24(const int32_t *alone, uint32_t count, int32_t *sums)
{
    for (uint32_t i = 0; i < count; ++i) {
        const uint32_t low = ((uint32_t)alone[i] + NET_LIMIT) & (2u * NET_LIMIT - 1u);
        sums[i] = (int32_t)((uint32_t)sums[i] + low - NET_LIMIT);
    }
}
