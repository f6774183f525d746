void net_begin(net_t *net)
{
    (void)memset(net, 0, sizeof *net);
${begin}}

int net_step(net_t *net, const net_input_t *frame, uint32_t count)
{
    if (count != NET_FRAME_SIZE) {
        return NET_ERROR_SIZE;
    }
    if (net->t >= NET_TIMESTEPS) {
        return NET_ERROR_DONE;
    }
${check}${steps}    ++net->t;
    return net_confident(net) || net->t == NET_TIMESTEPS ? NET_STOP : NET_GO_ON;
}

uint32_t net_class(const net_t *net)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < NET_CLASSES; ++i) {
        best = net->z[i] > net->z[best] ? i : best;
    }
    return best;
}

int32_t net_classify(net_t *net, const net_input_t *input, uint32_t count)
{
    int found = NET_GO_ON;
    if (count != NET_FRAMES * NET_FRAME_SIZE) {
        return NET_ERROR_SIZE;
    }
    net_begin(net);
    while (found == NET_GO_ON) {
        const uint32_t frame = NET_FRAMES == 1 ? 0u : net->t;
        found = net_step(net, input + frame * NET_FRAME_SIZE, NET_FRAME_SIZE);
    }
    return found == NET_STOP ? (int32_t)net_class(net) : found;
}
