/* Between the files of the frame codec; the interface is <weir/frame.h>. */
#ifndef WEIR_PROTO_FRAME_H
#define WEIR_PROTO_FRAME_H

#include <weir/frame.h>

/* Frames found by their end; see weir_frame_next. In frame_end.c. */
int weir__frame_next_line(const weir_frame *frame, const char *data, size_t size, size_t *scanned,
                          weir_frame_found *found);
int weir__frame_next_delimiter(const weir_frame *frame, const char *data, size_t size,
                               size_t *scanned, weir_frame_found *found);
int weir__frame_next_delimiters(const weir_frame *frame, const char *data, size_t size,
                                size_t *scanned, weir_frame_found *found);

/* The same with a length field. In frame_length.c. */
int weir__frame_next_length(const weir_frame *frame, const uint8_t *data, size_t size,
                            weir_frame_found *found);
int weir__frame_encode_length(const weir_frame *frame, size_t size, weir_frame_wrap *wrap);
int weir__frame_check_length(const weir_frame *frame);

#endif
