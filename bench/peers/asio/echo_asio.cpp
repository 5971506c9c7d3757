// Standalone asio, as its documentation recommends for one thread: the concurrency hint that turns
// locking off in scheduler and reactor ("ASIO_CONCURRENCY_HINT_UNSAFE"), one buffer a connection,
// handlers small enough for its recycled memory, and one outstanding read or write.
#include <asio.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

using asio::ip::tcp;

enum class jobs { echo, accept, sink };
static jobs job = jobs::echo;
static size_t buffer_size = 16 * 1024;

// After an answer in "accept" nothing holds the connection any more: it is closed.
class conn : public std::enable_shared_from_this<conn> {
public:
    explicit conn(tcp::socket socket) : socket_(std::move(socket)), data_(buffer_size)
    {
        socket_.set_option(tcp::no_delay(true));
    }

    void read()
    {
        socket_.async_read_some(asio::buffer(data_),
                                [self = shared_from_this()](std::error_code error, size_t size) {
                                    if (error)
                                        return;
                                    if (job == jobs::sink)
                                        self->read();
                                    else
                                        self->write(size);
                                });
    }

private:
    void write(size_t size)
    {
        asio::async_write(socket_, asio::buffer(data_, size),
                          [self = shared_from_this()](std::error_code error, size_t) {
                              if (!error && job == jobs::echo)
                                  self->read();
                          });
    }

    tcp::socket socket_;
    std::vector<char> data_;
};

static void accept(tcp::acceptor &acceptor)
{
    acceptor.async_accept([&acceptor](std::error_code error, tcp::socket socket) {
        if (!error)
            std::make_shared<conn>(std::move(socket))->read();
        accept(acceptor);
    });
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        std::fprintf(stderr, "usage: %s PORT [echo|accept|sink]\n", argv[0]);
        return 64;
    }
    if (argc > 2 && argv[2] == std::string("accept"))
        job = jobs::accept;
    if (argc > 2 && argv[2] == std::string("sink")) {
        job = jobs::sink;
        buffer_size = 256 * 1024;
    }
    asio::io_context context(ASIO_CONCURRENCY_HINT_UNSAFE);
    tcp::endpoint address(asio::ip::address_v4::loopback(), (unsigned short)std::atoi(argv[1]));
    tcp::acceptor acceptor(context, address);
    acceptor.listen(4096);
    accept(acceptor);
    context.run();
}
