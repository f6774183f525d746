/* Adds what spikes cause: bit i of the masks is neuron i. */
static void net_${kind}_spikes_${weight}_${sum}(const net_${kind}_t *map, const ${weight}_t *weight,
                                                const uint32_t *sent, uint32_t words,
                                                ${sum}_t *sums)
{
    for (uint32_t word = 0; word < words; ++word) {
        for (uint32_t bits = sent[word]; bits != 0u; bits &= bits - 1u) {
            net_${kind}_${weight}_${sum}(map, weight, 32u * word + net_lowest(bits), 1, sums);
        }
    }
}
