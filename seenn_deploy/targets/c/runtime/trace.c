#ifdef NET_TRACE
static void net_put_layer(uint32_t layer, const uint32_t *sent, uint32_t words)
{
    (void)putc('P', net_answers);
    net_put(layer, 4);
    for (uint32_t i = 0; i < words; ++i) {
        net_put(sent[i], 4);
    }
}

void net_trace(const net_t *net, uint32_t layer, const uint32_t *sent)
{
    switch (layer) {
${traces}    default:
        break;
    }
}
#endif

