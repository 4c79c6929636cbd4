/* The file that the program carries, half_width.safetensors, which embedded.S puts into it. */
#ifndef PAREIDOLIA_EMBEDDED_H
#define PAREIDOLIA_EMBEDDED_H

extern const unsigned char embedded_weights[], embedded_weights_end[]; /* the end is exclusive */

#endif
