/* The upper half of a product of 128 bits. */
static uint64_t net_upper_half(uint64_t a, uint64_t b)
{
    const uint64_t low = (a & 0xffffffffu) * (b & 0xffffffffu);
    const uint64_t mixed = (a >> 32) * (b & 0xffffffffu) + (low >> 32);
    const uint64_t other = (a & 0xffffffffu) * (b >> 32) + (mixed & 0xffffffffu);
    return (a >> 32) * (b >> 32) + (mixed >> 32) + (other >> 32);
}

/* exp(-below scale) in units of 2^-24: a product of two factors in units of 2^-63, which the
   compiler has compared with the table for every argument. */
static uint32_t net_exponential(const net_exponentials_t *found, uint32_t below)
{
    const uint64_t coarse = found->coarse[below >> found->fine_bits];
    const uint64_t fine = found->fine[below & (((uint32_t)1 << found->fine_bits) - 1u)];
    return (uint32_t)((net_upper_half(coarse, fine) + ((uint64_t)1 << 37)) >> 38);
}
