#include "co/overflow.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/altstack.h"
#include "base/log.h"
#include "co/scope.h"

/* -- the message: nothing here may allocate, lock or use much of a stack -- */

struct text {
    char bytes[512];
    size_t size;
};

static void text_add(struct text *text, const char *more)
{
    size_t size = strlen(more), room = sizeof text->bytes - text->size;
    if (size > room)
        size = room;
    memcpy(text->bytes + text->size, more, size);
    text->size += size;
}

static void text_number(struct text *text, uint64_t number, unsigned base)
{
    char digits[24], *at = digits + sizeof digits;
    *--at = '\0';
    do {
        *--at = "0123456789abcdef"[number % base];
        number /= base;
    } while (number != 0);
    text_add(text, at);
}

/* "name (file)" where the program's symbols tell it, else "file+0x1234", for addr2line. */
static void text_code(struct text *text, void (*code)(void))
{
    Dl_info info;
    uintptr_t address = (uintptr_t)code;
    if (dladdr((const void *)address, &info) == 0) {
        text_add(text, "0x");
        text_number(text, address, 16);
        return;
    }
    if (info.dli_sname != NULL && info.dli_saddr == (void *)address) {
        text_add(text, info.dli_sname);
        text_add(text, " (");
    }
    text_add(text, info.dli_fname);
    text_add(text, "+0x");
    text_number(text, address - (uintptr_t)info.dli_fbase, 16);
    if (info.dli_sname != NULL && info.dli_saddr == (void *)address)
        text_add(text, ")");
}

static void overflow_tell(struct co *co)
{
    const struct stack *stack = co_stack(co);
    const struct co_local *local = co_local(co);
    const weir_loop *loop = loop_current();
    struct text text = {.size = 0};
    text_add(&text, "weir: a coroutine has overflowed its stack of ");
    text_number(&text, (uint64_t)(stack->high - stack->low), 10);
    text_add(&text, " bytes: ");
    if (local->code != NULL)
        text_code(&text, local->code);
    if (local->scope != NULL && local->scope->name != NULL) {
        text_add(&text, ", in the scope ");
        text_add(&text, local->scope->name);
    }
    if (loop != NULL) {
        text_add(&text, ", on loop ");
        text_number(&text, loop->id, 10);
    }
    text_add(&text, "; .stack_bytes of the loop's options makes them larger\n");
    (void)weir__write_quietly(STDERR_FILENO, text.bytes, text.size);
}

/* A canary is gone. */
static void canary_tell(struct stack *stack)
{
    overflow_tell(co_of_stack(stack));
}

/* -- the signal -- */

static struct {
    pthread_mutex_t lock;
    unsigned users;
    bool ours;
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The instruction is executed again behind it, and then ends the process as it would have without,
 * with the same place in the core file. */
static void segment_violated(int number, siginfo_t *info, void *context)
{
    struct co *co = co_current();
    const struct sigaction standard = {.sa_handler = SIG_DFL};
    if (co != NULL && info->si_code > 0) {
        uintptr_t at = (uintptr_t)info->si_addr, low = (uintptr_t)co_stack(co)->low;
        if (at < low && low - at <= (uintptr_t)sysconf(_SC_PAGESIZE))
            overflow_tell(co);
    }
    sigaction(number, &standard, NULL);
    if (info->si_code <= 0) /* somebody has sent it */
        raise(number);
}

static bool is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) != 0 && action->sa_sigaction == segment_violated;
}

static void handler_set(void)
{
    struct sigaction former,
        action = {.sa_sigaction = segment_violated, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    if (sigaction(SIGSEGV, NULL, &former) < 0)
        return;
    watch.ours = is_ours(&former) || /* since before a fork */
                 ((former.sa_flags & SA_SIGINFO) == 0 && former.sa_handler == SIG_DFL &&
                  sigaction(SIGSEGV, &action, NULL) == 0);
}

static void handler_unset(void)
{
    struct sigaction now;
    const struct sigaction standard = {.sa_handler = SIG_DFL};
    if (watch.ours && sigaction(SIGSEGV, NULL, &now) == 0 && is_ours(&now))
        sigaction(SIGSEGV, &standard, NULL);
    watch.ours = false;
}

/* A child has none of its parent's loops; the handler stays, for a coroutine that goes on there. */
static void forked_child(void)
{
    static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
    memcpy(&watch.lock, &fresh, sizeof fresh);
    watch.users = 0;
    weir__altstack_forked();
}

static void prepare(void)
{
    pthread_atfork(NULL, NULL, forked_child);
}

void overflow_watch(weir_loop *loop)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    sigset_t only;
    stack_on_overflow(canary_tell);
    if (!loop->options.overflow_report)
        return;
    pthread_once(&once, prepare);
    weir__altstack_need();
    sigemptyset(&only);
    sigaddset(&only, SIGSEGV);
    pthread_sigmask(SIG_UNBLOCK, &only, NULL);
    pthread_mutex_lock(&watch.lock);
    if (watch.users++ == 0)
        handler_set();
    pthread_mutex_unlock(&watch.lock);
}

void overflow_unwatch(weir_loop *loop)
{
    if (!loop->options.overflow_report)
        return;
    pthread_mutex_lock(&watch.lock);
    if (--watch.users == 0)
        handler_unset();
    pthread_mutex_unlock(&watch.lock);
    weir__altstack_drop();
}
