/* exp(-below scale) in units of 2^-24. */
static uint32_t net_exponential(const net_exponentials_t *found, uint32_t below)
{
    return found->units[below];
}
