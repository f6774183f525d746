/* x / 2^bits, rounded toward zero. */
static ${wide}_t net_toward_zero_${wide}(${wide}_t x, uint32_t bits)
{
    return x < 0 ? -(-x >> bits) : x >> bits;
}
