/* Adds what whole numbers cause, each of them base + sent[i]; 0 is no event. */
static void net_${kind}_values_${weight}_${value}_${sum}(const net_${kind}_t *map,
                                                         const ${weight}_t *weight,
                                                         const ${value}_t *sent, uint32_t count,
                                                         int32_t base, ${sum}_t *sums)
{
    for (uint32_t at = 0; at < count; ++at) {
        const int32_t value = (int32_t)sent[at] + base;
        if (value != 0) {
            net_${kind}_${weight}_${sum}(map, weight, at, value, sums);
        }
    }
}
