/* The policy network: it sees the image and chooses how many timesteps run. */
static void net_policy(net_t *net, const net_input_t *frame)
{
    uint32_t best = 0;
${calls}    for (uint32_t i = 1; i < NET_CHOICES; ++i) {
        best = net->scores[i] > net->scores[best] ? i : best;
    }
    net->until = ${choices}[best];
}

/* The exit rule: the timesteps that the policy network chose have run. */
static int net_confident(const net_t *net)
{
    return net->t >= net->until;
}
