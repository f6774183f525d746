/* ${about}

   The caller owns the state, a net_t, and every timestep's input:

       net_begin(&net);
       do {
           found = net_step(&net, frame, NET_FRAME_SIZE);
       } while (found == NET_GO_ON);

   Frames are rows of pixels, the channels of each pixel side by side (height, width, channel).
   Nothing here allocates, recurses, uses floating point or keeps state of its own. */
#ifndef NET_H
#define NET_H

#include <stdint.h>

#define NET_FINGERPRINT "${fingerprint}"
#define NET_TIMESTEPS ${T}
#define NET_CLASSES ${classes}
#define NET_FRAMES ${frames} /* of an input: one for each timestep, or one for all */
#define NET_FRAME_SIZE ${frame_size}u /* values of a frame: ${shape} */
#define NET_INPUT_LEAST ${least} /* what a value of 0 stands for, in the network's units */
${span}${choices}
typedef ${input}_t net_input_t;
typedef ${z}_t net_logit_t;

enum {
    NET_GO_ON = 0,       /* the next timestep has to run */
    NET_STOP = 1,        /* the answer is there */
    NET_ERROR_SIZE = -1, /* the frame is shorter or longer than NET_FRAME_SIZE */
    NET_ERROR_VALUE = -2, /* a value lies outside what the network takes */
    NET_ERROR_DONE = -3  /* all timesteps have run */
};

typedef struct {
    uint32_t t; /* timesteps that have run */
    net_logit_t z[NET_CLASSES];
${members}${shared}
} net_t;

/* Begins a sample. */
void net_begin(net_t *net);

/* Runs one timestep. Of a network that takes one image, the frame is read at the first of them.
   Returns NET_GO_ON, NET_STOP, or an error, after which nothing has changed. */
int net_step(net_t *net, const net_input_t *frame, uint32_t count);

/* The class with the largest logit, the first of equals. */
uint32_t net_class(const net_t *net);

/* Runs a sample of NET_FRAMES frames to its exit; returns its class, or an error. The number of
   timesteps is then net->t. */
int32_t net_classify(net_t *net, const net_input_t *input, uint32_t count);

#ifdef NET_TRACE
/* Called by net.c when a layer has fired, with its spikes; who compiles with NET_TRACE has it. */
void net_trace(const net_t *net, uint32_t layer, const uint32_t *sent);
#endif

#endif
