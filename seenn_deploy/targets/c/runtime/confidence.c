/* The exit rule: a softmax above alpha is a sum of exponentials, relative to the best class, that
   stays below 1 / alpha, in units of 2^-24. */
static int net_confident(const net_t *net)
{
    const net_exponentials_t *found = &net_exponentials[net_exponentials_at[net->t - 1u]];
    int64_t first = net->z[0];
    uint64_t total = 0;
    for (uint32_t i = 1; i < NET_CLASSES; ++i) {
        first = net->z[i] > first ? net->z[i] : first;
    }
    for (uint32_t i = 0; i < NET_CLASSES; ++i) {
        const uint64_t below =
            ((uint64_t)(first - net->z[i]) + NET_EXIT_ROUNDING) >> NET_EXIT_SHIFT;
        total += below < found->length ? net_exponential(found, (uint32_t)below) : 0u;
    }
    return total < NET_EXIT_LIMIT;
}
