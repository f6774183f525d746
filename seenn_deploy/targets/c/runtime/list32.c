/* One event before synapses that are listed by source neuron. */
static void net_list32_${weight}_${sum}(const net_list32_t *list, const ${weight}_t *weight,
                                        uint32_t at, int32_t value, ${sum}_t *sums)
{
    for (uint32_t i = list->first[at]; i < list->first[at + 1]; ++i) {
        net_row_${weight}_${sum}(sums + list->target[i], weight + i, 1, value);
    }
}
