/* Saturates at 24 bits. */
static int32_t net_clipped_${wide}(${wide}_t x)
{
    return x >= NET_LIMIT ? NET_LIMIT - 1 : x <= -NET_LIMIT ? 1 - NET_LIMIT : (int32_t)x;
}
