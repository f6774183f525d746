/* A current at the scale of potentials: times 64 in 32 bits, with one wrap at 24 bits. */
static int32_t net_arriving(int32_t current)
{
    int32_t u = (int32_t)((uint32_t)current << 6);
    if (u > NET_LIMIT) {
        u -= 2 * NET_LIMIT;
    } else if (u <= -NET_LIMIT) {
        u += 2 * NET_LIMIT;
    }
    return u;
}
