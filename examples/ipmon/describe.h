/* What rtnetlink(7) says of links, addresses and routes, as a line of text. */
#ifndef IPMON_DESCRIBE_H
#define IPMON_DESCRIBE_H

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>

enum { KINDS = 3 }; /* links, addresses, routes: RTM_NEWLINK, RTM_NEWADDR, RTM_NEWROUTE */

/* For mnl_cb_run: describes one message. Routes are those of the main table. */
static int print(const struct nlmsghdr *head, void *out)
{
    static const unsigned sizes[] = {sizeof(struct ifinfomsg), sizeof(struct ifaddrmsg),
                                     sizeof(struct rtmsg)};
    unsigned kind = (head->nlmsg_type - RTM_BASE) / 4u, mtu = 0;
    char name[IF_NAMESIZE] = "-", host[INET6_ADDRSTRLEN] = "default", via[INET6_ADDRSTRLEN] = "-";
    struct nlattr *at;
    if (kind >= KINDS || mnl_nlmsg_get_payload_len(head) < sizes[kind])
        return MNL_CB_OK;
    const struct ifinfomsg *link = mnl_nlmsg_get_payload(head);
    const struct ifaddrmsg *address = mnl_nlmsg_get_payload(head);
    const struct rtmsg *route = mnl_nlmsg_get_payload(head);
    unsigned ip_bytes = route->rtm_family == AF_INET6 ? 16 : 4; /* it is the first byte of all */
    mnl_attr_for_each(at, head, sizes[kind])
    {
        unsigned type = mnl_attr_get_type(at) | kind << 8, bytes = mnl_attr_get_payload_len(at);
        const void *value = mnl_attr_get_payload(at);
        if (type == IFLA_IFNAME && bytes <= sizeof name)
            snprintf(name, sizeof name, "%.*s", (int)bytes, (const char *)value);
        else if (type == IFLA_MTU && bytes == 4)
            mtu = mnl_attr_get_u32(at);
        else if (type == (RTA_OIF | 2 << 8) && bytes == 4)
            if_indextoname(mnl_attr_get_u32(at), name);
        else if ((type == (IFA_ADDRESS | 1 << 8) || type == (RTA_DST | 2 << 8)) &&
                 bytes == ip_bytes)
            inet_ntop(route->rtm_family, value, host, sizeof host);
        else if (type == (RTA_GATEWAY | 2 << 8) && bytes == ip_bytes)
            inet_ntop(route->rtm_family, value, via, sizeof via);
    }
    const char *gone = head->nlmsg_type % 4 == 1 ? "deleted " : "";
    if (kind == 0)
        fprintf(out, "%slink %s %s mtu %u\n", gone, name, link->ifi_flags & IFF_UP ? "up" : "down",
                mtu);
    else if (kind == 1 && if_indextoname(address->ifa_index, name) != NULL)
        fprintf(out, "%saddress %s/%u dev %s\n", gone, host, address->ifa_prefixlen, name);
    else if (kind == 2 && route->rtm_table == RT_TABLE_MAIN)
        fprintf(out, "%sroute %s/%u via %s dev %s\n", gone, host, route->rtm_dst_len, via, name);
    return MNL_CB_OK;
}

#endif
