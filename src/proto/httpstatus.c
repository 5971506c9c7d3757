#include "proto/httpstatus.h"

/* The registry of RFC 9110 16.2 as far as a server of ours may say it or a client show it. */
#define STATUS_TABLE(X)                       \
    X(100, "Continue")                        \
    X(101, "Switching Protocols")             \
    X(103, "Early Hints")                     \
    X(200, "OK")                              \
    X(201, "Created")                         \
    X(202, "Accepted")                        \
    X(203, "Non-Authoritative Information")   \
    X(204, "No Content")                      \
    X(205, "Reset Content")                   \
    X(206, "Partial Content")                 \
    X(300, "Multiple Choices")                \
    X(301, "Moved Permanently")               \
    X(302, "Found")                           \
    X(303, "See Other")                       \
    X(304, "Not Modified")                    \
    X(305, "Use Proxy")                       \
    X(307, "Temporary Redirect")              \
    X(308, "Permanent Redirect")              \
    X(400, "Bad Request")                     \
    X(401, "Unauthorized")                    \
    X(402, "Payment Required")                \
    X(403, "Forbidden")                       \
    X(404, "Not Found")                       \
    X(405, "Method Not Allowed")              \
    X(406, "Not Acceptable")                  \
    X(407, "Proxy Authentication Required")   \
    X(408, "Request Timeout")                 \
    X(409, "Conflict")                        \
    X(410, "Gone")                            \
    X(411, "Length Required")                 \
    X(412, "Precondition Failed")             \
    X(413, "Content Too Large")               \
    X(414, "URI Too Long")                    \
    X(415, "Unsupported Media Type")          \
    X(416, "Range Not Satisfiable")           \
    X(417, "Expectation Failed")              \
    X(421, "Misdirected Request")             \
    X(422, "Unprocessable Content")           \
    X(423, "Locked")                          \
    X(424, "Failed Dependency")               \
    X(425, "Too Early")                       \
    X(426, "Upgrade Required")                \
    X(428, "Precondition Required")           \
    X(429, "Too Many Requests")               \
    X(431, "Request Header Fields Too Large") \
    X(451, "Unavailable For Legal Reasons")   \
    X(500, "Internal Server Error")           \
    X(501, "Not Implemented")                 \
    X(502, "Bad Gateway")                     \
    X(503, "Service Unavailable")             \
    X(504, "Gateway Timeout")                 \
    X(505, "HTTP Version Not Supported")      \
    X(507, "Insufficient Storage")            \
    X(511, "Network Authentication Required")

#define LEAST 100
#define MOST  511

/* The whole line; its text lies between "HTTP/1.1 200 " and CR LF. */
static const struct http_text lines[MOST - LEAST + 1] = {
#define X(code, text)                                    \
    [code - LEAST] = {"HTTP/1.1 " #code " " text "\r\n", \
                      sizeof("HTTP/1.1 " #code " " text "\r\n") - 1},
    STATUS_TABLE(X)
#undef X
};

struct http_text http_status_line(unsigned status)
{
    if (status < LEAST || status > MOST)
        return (struct http_text){"", 0};
    return lines[status - LEAST];
}

struct http_text http_status_text(unsigned status)
{
    struct http_text line = http_status_line(status);

    if (line.length == 0)
        return (struct http_text){"", 0};
    return (struct http_text){line.at + 13, line.length - 15};
}
