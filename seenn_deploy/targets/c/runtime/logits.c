/* Adds a timestep's currents to the logits. */
static void net_logits_${sum}_${z}(const int32_t *bias, const ${sum}_t *sums, ${z}_t *z)
{
    for (uint32_t i = 0; i < NET_CLASSES; ++i) {
        z[i] = (${z}_t)(z[i] + sums[i] + (${z}_t)bias[i]);
    }
}
