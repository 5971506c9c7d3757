/* Small files, read whole. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tls/tls.h"

static bool refuse(const struct tls_file *file, int error, const char *what)
{
    weir__log(file->level, error, 0, "%s: %s", file->name, what);
    return false;
}

static bool read_all(int fd, struct tls_file *out, const char *what)
{
    while (out->size < out->most + 1) {
        ssize_t got = read(fd, out->data + out->size, out->most + 1 - out->size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return refuse(out, -errno, weir_error_text(-errno));
        if (got == 0)
            return true;
        out->size += (size_t)got;
    }
    weir__log(out->level, WEIR_ETOOBIG, 0, "%s: larger than %zu KiB: no file of %s", out->name,
              out->most >> 10, what);
    return false;
}

/* A secret that others can read is none: what they read, they can open. */
static bool is_private(int fd, const struct tls_file *file)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return refuse(file, -errno, weir_error_text(-errno));
    if (!S_ISREG(status.st_mode))
        return refuse(file, WEIR_EINVALID, "this is no file");
    if ((status.st_mode & S_IRWXO) == 0)
        return true;
    return refuse(file, -EACCES, "everybody on this host has access to these keys: chmod 600 it");
}

bool tls_file_read(struct tls_file *out, const char *what)
{
    int fd =
        open(out->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe with nobody at it: no wait */
    if (fd < 0)
        return refuse(out, -errno, weir_error_text(-errno));
    out->data = OPENSSL_malloc(out->most + 1);
    bool fine = out->data != NULL || refuse(out, WEIR_ENOMEM, weir_error_text(WEIR_ENOMEM));
    fine = fine && (!out->secret || is_private(fd, out)) && read_all(fd, out, what);
    close(fd);
    if (!fine)
        tls_file_close(out);
    return fine;
}

void tls_file_close(struct tls_file *file)
{
    OPENSSL_clear_free(file->data, file->most + 1);
    file->data = NULL;
}
