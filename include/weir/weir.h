/* The core of weir: include this, link with -lweir. */
#ifndef WEIR_WEIR_H
#define WEIR_WEIR_H

#include <weir/address.h>
#include <weir/alloc.h>
#include <weir/chan.h>
#include <weir/co.h>
#include <weir/conn.h>
#include <weir/datagram.h>
#include <weir/error.h>
#include <weir/filter.h>
#include <weir/frame.h>
#include <weir/log.h>
#include <weir/loop.h>
#include <weir/outgoing.h>
#include <weir/plan.h>
#include <weir/scope.h>
#include <weir/service.h>
#include <weir/socket.h>
#include <weir/stats.h>
#include <weir/sync.h>
#include <weir/units.h>
#include <weir/version.h>
#include <weir/view.h>

#endif
