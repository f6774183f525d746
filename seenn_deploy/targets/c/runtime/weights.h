/* ${about} */
#ifndef NET_WEIGHTS_H
#define NET_WEIGHTS_H

#include "net.h"

typedef struct {
    uint32_t channels;
    uint32_t width;
    uint32_t group_channels;
    uint32_t group_outs;
    uint32_t out_channels;
    int32_t out_height;
    int32_t out_width;
    int32_t kernel_y;
    int32_t kernel_x;
    int32_t stride_y;
    int32_t stride_x;
    int32_t padding_y;
    int32_t padding_x;
    int32_t dilation_y;
    int32_t dilation_x;
} net_conv_t;

typedef struct {
    uint32_t outs;
} net_dense_t;

typedef struct {
    uint32_t channels;
    uint32_t width;
    uint32_t window_y;
    uint32_t window_x;
    uint32_t outs;
} net_pooled_t;

typedef struct {
    const uint32_t *first;
    const uint16_t *target;
} net_list16_t;

typedef struct {
    const uint32_t *first;
    const uint32_t *target;
} net_list32_t;

typedef struct {
    uint32_t neurons;
} net_identity_t;

typedef struct {
    uint32_t pixels;
    uint32_t channels;
    int32_t keep; /* of 2^keep_bits: the share of a potential that a timestep leaves */
    uint32_t keep_bits;
    int32_t threshold;
    int32_t subtracted;
    int32_t soft;
    int32_t bias_unit;
} net_fire_t;

typedef struct {
    uint32_t pixels;
    uint32_t channels;
    int32_t soft;
} net_fire_each_t;

typedef struct {
    int32_t bias;
    int32_t keep_current; /* of 4096, as keep */
    int32_t keep;
    int32_t threshold;
    int32_t subtracted;
    int32_t start;
} net_neuron_t;

typedef struct {
    int32_t channels;
    int32_t height;
    int32_t width;
    int32_t out_height;
    int32_t out_width;
    int32_t window_y;
    int32_t window_x;
    int32_t stride_y;
    int32_t stride_x;
    int32_t padding_y;
    int32_t padding_x;
} net_pool_t;

typedef struct {
    uint32_t groups;
    uint32_t rows;
    uint32_t summed;
    uint32_t columns;
} net_product_t;

typedef struct {
    int32_t channels;
    int32_t height;
    int32_t width;
    int32_t group_channels;
    int32_t group_outs;
    int32_t out_channels;
    int32_t out_height;
    int32_t out_width;
    int32_t kernel_y;
    int32_t kernel_x;
    int32_t stride;
    int32_t padding;
    int32_t base; /* added to numbers of the image, here and below */
    uint32_t shift;
    int32_t low; /* of the result */
    int32_t high;
} net_policy_conv_t;

typedef struct {
    int32_t pixels;
    int32_t channels;
    int32_t base;
    uint32_t shift;
    int32_t low;
    int32_t high;
} net_policy_affine_t;

typedef struct {
    int32_t count;
    int32_t first; /* factors */
    int32_t second;
    int32_t base;
    uint32_t shift;
    int32_t low;
    int32_t high;
} net_policy_add_t;

typedef struct {
    int32_t channels;
    int32_t width;
    int32_t out_height;
    int32_t out_width;
    int32_t window_y;
    int32_t window_x;
    int32_t factor;
    int32_t base;
    uint32_t shift;
    int32_t low;
    int32_t high;
} net_policy_average_t;

${declared}

#endif
