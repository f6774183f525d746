/* Adds value times a row of weights. The sums wrap where their type was not proven to hold them. */
static void net_row_${weight}_${sum}(${sum}_t *restrict sums, const ${weight}_t *restrict weight,
                                     uint32_t length, int32_t value)
{
    for (uint32_t i = 0; i < length; ++i) {
        sums[i] = (${sum}_t)((uint32_t)sums[i] + (uint32_t)value * (uint32_t)weight[i]);
    }
}
