/* One event on a shortcut, which leads to the neuron of the same place. */
static void net_identity_${weight}_${sum}(const net_identity_t *identity, const ${weight}_t *weight,
                                          uint32_t at, int32_t value, ${sum}_t *sums)
{
    (void)identity;
    net_row_${weight}_${sum}(sums + at, weight, 1, value);
}
