/* The exit rule: the best class leads by more than the limit of this timestep. */
static int net_confident(const net_t *net)
{
    const int64_t limit = net_margins[net->t - 1u];
    int64_t first = net->z[0];
    int64_t second = INT64_MIN;
    for (uint32_t i = 1; i < NET_CLASSES; ++i) {
        if (net->z[i] > first) {
            second = first;
            first = net->z[i];
        } else if (net->z[i] > second) {
            second = net->z[i];
        }
    }
    return NET_CLASSES == 1 ? NET_ONE_CLASS_LEAD > limit : first - second > limit;
}
