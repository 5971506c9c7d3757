// boost.context's fiber and boost.coroutine2: nanoseconds for each switch, there and back being two, and
// for a fiber on a pooled stack from its making to its end. The best of many short rounds.
#include <chrono>
#include <cstdio>

#include <boost/context/fiber.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <boost/coroutine2/coroutine.hpp>

namespace context = boost::context;
namespace coroutines = boost::coroutines2;

static const int steps = 25600, rounds = 100;

template <typename Step> static double best(Step measure)
{
    double least = 1e9;
    for (int i = 0; i < rounds; i++) {
        auto began = std::chrono::steady_clock::now();
        measure();
        std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - began;
        if (took.count() / steps < least)
            least = took.count() / steps;
    }
    return least;
}

static void fibers()
{
    bool over = false;
    context::fiber fiber([&over](context::fiber &&caller) {
        while (!over)
            caller = std::move(caller).resume();
        return std::move(caller);
    });
    for (int i = 0; i < steps; i++)
        fiber = std::move(fiber).resume();
    over = true;
    fiber = std::move(fiber).resume();
}

static void pulls()
{
    coroutines::coroutine<int>::pull_type source([](coroutines::coroutine<int>::push_type &sink) {
        for (int i = 0; i <= steps; i++)
            sink(i);
    });
    for (int i = 0; i < steps; i++)
        source();
}

static void spawns()
{
    context::pooled_fixedsize_stack stacks;
    for (int i = 0; i < steps; i++) {
        context::fiber fiber(std::allocator_arg, stacks,
                             [](context::fiber &&caller) { return std::move(caller); });
        fiber = std::move(fiber).resume();
    }
}

int main()
{
    double context_ns = best(fibers) / 2, coroutine2_ns = best(pulls) / 2, spawn_ns = best(spawns);
    std::printf("{\"context_ns\": %.2f, \"coroutine2_ns\": %.2f, \"spawn_ns\": %.2f}\n", context_ns,
                coroutine2_ns, spawn_ns);
    return 0;
}
