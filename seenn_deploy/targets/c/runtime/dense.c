/* One event before a matrix, which has a row of weights for each source neuron. */
static void net_dense_${weight}_${sum}(const net_dense_t *dense, const ${weight}_t *weight,
                                       uint32_t at, int32_t value, ${sum}_t *sums)
{
    net_row_${weight}_${sum}(sums, weight + at * dense->outs, dense->outs, value);
}
