/* slow_h1.h -- a second reader of HTTP/1 request heads, for comparison.
 *
 * Why: written from RFC 9112 by copying lines and asking strings, it shares no code and no idea
 * with the real one. Where the two disagree, one of them is wrong.
 */
#ifndef PENSTOCK_TESTS_SLOW_H1_H
#define PENSTOCK_TESTS_SLOW_H1_H

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A slow reader written from RFC 9112 alone: copies lines, asks strings. It says what a complete
 * head (it ends in an empty line) is worth: a status, 200 for accepted. Bytes above 0x7f, CTLs and
 * so on are decided by strchr on lists written out here. */
static const char token_bytes[] = "!#$%&'*+-.^_`|~0123456789"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static bool all_in(const char *text, const char *set)
{
    return *text && strspn(text, set) == strlen(text);
}

static char *slow_trim(char *text)
{
    text += strspn(text, " \t");
    for (size_t n = strlen(text); n && strchr(" \t", text[n - 1]); n--)
        text[n - 1] = 0;
    return text;
}

static bool slow_authority(const char *text)
{
    static const char host_bytes[] = "-._~!$&'()*+,;=0123456789"
                                     "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    static char host[512];
    snprintf(host, sizeof host, "%s", text);
    char *colon = strrchr(host, ':');
    if (host[0] == '[')
        return false; /* addresses in brackets are not among its seeds */
    if (colon) {
        *colon = 0;
        if (colon[1] &&
            (!all_in(colon + 1, "0123456789") || strlen(colon + 1) > 5 || atoi(colon + 1) > 65535))
            return false;
    }
    for (char *percent; (percent = strchr(host, '%'));) {
        if (!isxdigit((unsigned char)percent[1]) || !isxdigit((unsigned char)percent[2]))
            return false;
        memcpy(percent, "xxx", 3);
    }
    return all_in(host, host_bytes);
}

static bool slow_target_bytes(const char *t)
{
    for (const char *p = t; *p; p++) {
        if ((unsigned char)*p < 0x21 || (unsigned char)*p > 0x7e || *p == '#')
            return false;
        if (*p == '%' && (!isxdigit((unsigned char)p[1]) || !isxdigit((unsigned char)p[2])))
            return false;
        if (strncmp(p, "%00", 3) == 0)
            return false;
    }
    return *t != 0;
}

struct slow_head {
    int minor, hosts, lengths, codings, expects;
    char authority[512], host[512], length[512], coding[512], expect[512];
};

static int slow_request_line(char *line, struct slow_head *h)
{
    char *first = strchr(line, ' ');
    char *last = strrchr(line, ' ');
    if (!first || first == last)
        return 400;
    *first = *last = 0;
    const char *method = line, *target = first + 1, *version = last + 1;
    if (!all_in(method, token_bytes) || strlen(method) > 32 || !slow_target_bytes(target))
        return 400;
    if (strlen(version) != 8 || strncmp(version, "HTTP/", 5) != 0 ||
        !isdigit((unsigned char)version[5]) || version[6] != '.' ||
        !isdigit((unsigned char)version[7]))
        return 400;
    if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0)
        return 505;
    h->minor = version[7] - '0';
    if (strcmp(method, "CONNECT") == 0)
        return 400;
    if (target[0] == '/')
        return 200;
    if (strcmp(target, "*") == 0)
        return strcmp(method, "OPTIONS") == 0 ? 200 : 400;
    const size_t scheme = strncasecmp(target, "http://", 7) == 0    ? 7
                          : strncasecmp(target, "https://", 8) == 0 ? 8
                                                                    : 0;
    if (!scheme)
        return 400;
    snprintf(h->authority, sizeof h->authority, "%s", target + scheme);
    h->authority[strcspn(h->authority, "/?")] = 0;
    return slow_authority(h->authority) ? 200 : 400;
}

static void slow_note(const char *name, const char *value, const char *wanted, int *count,
                      char *copy)
{
    if (strcasecmp(name, wanted) != 0)
        return;
    if ((*count)++ == 0)
        snprintf(copy, 512, "%s", value);
}

static int slow_field(char *line, struct slow_head *h)
{
    char *colon = strchr(line, ':');
    if (!colon)
        return 400;
    *colon = 0;
    if (!all_in(line, token_bytes))
        return 400;
    char *value = colon + 1;
    for (const char *p = value; *p; p++)
        if (((unsigned char)*p < 0x20 && *p != '\t') || *p == 0x7f)
            return 400;
    value = slow_trim(value);
    slow_note(line, value, "host", &h->hosts, h->host);
    slow_note(line, value, "content-length", &h->lengths, h->length);
    slow_note(line, value, "transfer-encoding", &h->codings, h->coding);
    slow_note(line, value, "expect", &h->expects, h->expect);
    return 200;
}

/* 400 or 501: every element a token (with parameters), "chunked" only as the last. */
static int slow_coding(const char *coding)
{
    static char list[512];
    snprintf(list, sizeof list, "%s", coding);
    bool was_chunked = false;
    for (char *at = list, *next; at; at = next) {
        next = strchr(at, ',');
        if (next)
            *next++ = 0;
        at = slow_trim(at);
        if (was_chunked)
            return 400;
        was_chunked = strcasecmp(at, "chunked") == 0;
        at[strcspn(at, ";")] = 0;
        if (!all_in(slow_trim(at), token_bytes))
            return 400;
    }
    return 501;
}

static int slow_judge(const struct slow_head *h)
{
    if (h->hosts > 1 || (h->hosts == 0 && h->minor == 1) || (h->hosts && !slow_authority(h->host)))
        return 400;
    if (h->authority[0] && h->hosts && strcasecmp(h->authority, h->host) != 0)
        return 400;
    if (h->lengths) {
        char *end;
        errno = 0;
        (void)strtoull(h->length, &end, 10);
        if (h->lengths > 1 || h->codings || !all_in(h->length, "0123456789") || errno)
            return 400;
    } else if (h->codings) {
        if (h->minor == 0 || h->codings > 1)
            return 400;
        if (strcasecmp(h->coding, "chunked") != 0)
            return slow_coding(h->coding);
    }
    if (h->minor == 1 && h->expects &&
        (h->expects > 1 || strcasecmp(h->expect, "100-continue") != 0))
        return 417;
    return 200;
}

/* The head is all of the bytes, ends in CR LF CR LF, and has no NUL (strings end there). */
static int slow_status(const char *bytes, size_t n)
{
    static char text[4096];
    static struct slow_head h;
    memset(&h, 0, sizeof h);
    memcpy(text, bytes, n);
    text[n] = 0;
    char *at = text;
    bool is_first = true;
    while (strcmp(at, "\r\n") != 0) {
        char *end = strchr(at, '\n');
        if (!end || end == at || end[-1] != '\r' ||
            (end - 1 > at && memchr(at, '\r', (size_t)(end - 1 - at))))
            return 400;
        end[-1] = 0;
        const int status = end - 1 == at ? 400
                           : is_first    ? slow_request_line(at, &h)
                                         : slow_field(at, &h);
        if (status != 200)
            return status;
        is_first = false;
        at = end + 1;
    }
    return is_first ? 400 : slow_judge(&h);
}

#endif
