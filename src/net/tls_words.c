/* What went wrong with TLS, in words that tell an operator what to do. */
#include "net/tls_impl.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

enum { NAMES_MAX = 4, NAMES_BYTES = 256 };

/* Appends a name of a certificate; bytes that would forge a log line become '?'. */
static size_t add_name(char *out, size_t n, const unsigned char *name, size_t name_n)
{
    if (n > 0 && n + 2 < NAMES_BYTES) {
        out[n++] = ',';
        out[n++] = ' ';
    }
    for (size_t i = 0; i < name_n && n + 1 < NAMES_BYTES; i++)
        out[n++] = name[i] > ' ' && name[i] < 127 ? (char)name[i] : '?';
    out[n] = '\0';
    return n;
}

static size_t add_address(char *out, size_t n, const ASN1_OCTET_STRING *address)
{
    const unsigned char *b = ASN1_STRING_get0_data(address);
    char text[64] = "an address";
    if (ASN1_STRING_length(address) == 4)
        snprintf(text, sizeof text, "%d.%d.%d.%d", b[0], b[1], b[2], b[3]);
    else if (ASN1_STRING_length(address) == 16)
        snprintf(text, sizeof text, "%x:%x:%x:%x:%x:%x:%x:%x", b[0] << 8 | b[1], b[2] << 8 | b[3],
                 b[4] << 8 | b[5], b[6] << 8 | b[7], b[8] << 8 | b[9], b[10] << 8 | b[11],
                 b[12] << 8 | b[13], b[14] << 8 | b[15]);
    return add_name(out, n, (const unsigned char *)text, strlen(text));
}

/* The first few names that a certificate is good for. */
static void names_of(X509 *certificate, char out[NAMES_BYTES])
{
    size_t n = 0;
    snprintf(out, NAMES_BYTES, "nobody");
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    int count = names ? sk_GENERAL_NAME_num(names) : 0;
    for (int i = 0; i < MIN(count, (int)NAMES_MAX); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_DNS)
            n = add_name(out, n, ASN1_STRING_get0_data(name->d.dNSName),
                         (size_t)ASN1_STRING_length(name->d.dNSName));
        else if (name->type == GEN_IPADD)
            n = add_address(out, n, name->d.iPAddress);
    }
    GENERAL_NAMES_free(names);
    if (count > NAMES_MAX)
        add_name(out, n, (const unsigned char *)"...", 3);
}

static enum err fail_name(struct tls *t, struct failure *why)
{
    char names[NAMES_BYTES] = "another name";
    /* The chain as it was sent: a certificate that was refused is not the session's yet. */
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(t->ssl);
    if (chain && sk_X509_num(chain) > 0)
        names_of(sk_X509_value(chain, 0), names);
    return fail(why, ERR_TLS, "the certificate is for %s, not for %s", names, t->host);
}

/* Whose certificate was bad, and how. */
static enum err fail_certificate(struct tls *t, long fault, struct failure *why)
{
    const char *whom = t->client ? t->host : "the client";
    const char *which =
        t->bad_depth == 0 ? "the certificate" : "an issuer in the certificate chain";
    switch (fault) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return fail_name(t, why);
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return fail(why, ERR_TLS, "%s of %s has expired", which, whom);
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return fail(why, ERR_TLS, "%s of %s is not valid yet", which, whom);
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        return fail(why, ERR_TLS, "the certificate of %s is self-signed and not trusted", whom);
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        return fail(why, ERR_TLS, "the certificate of %s is signed by an unknown authority", whom);
    case X509_V_ERR_EE_KEY_TOO_SMALL:
    case X509_V_ERR_CA_KEY_TOO_SMALL:
    case X509_V_ERR_CA_MD_TOO_WEAK:
        return fail(why, ERR_TLS, "%s of %s is too weak: %s", which, whom,
                    X509_verify_cert_error_string(fault));
    default:
        return fail(why, ERR_TLS, "%s of %s is not acceptable: %s", which, whom,
                    X509_verify_cert_error_string(fault));
    }
}

/* Reasons that have better words than OpenSSL's; both for what we saw and for the peer's alerts. */
static const struct {
    int reason;
    const char *words;
} reasons[] = {
    {SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED, "the peer asks for a client certificate"},
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, "the client showed no certificate"},
    {SSL_R_UNSUPPORTED_PROTOCOL, "the peer speaks no TLS version from 1.2 on"},
    {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "the peer speaks no TLS version from 1.2 on"},
    {SSL_R_UNKNOWN_PROTOCOL, "the peer does not speak TLS"},
    {SSL_R_WRONG_VERSION_NUMBER, "the peer does not speak TLS"},
    {SSL_R_HTTP_REQUEST, "the peer speaks HTTP without TLS"},
    {SSL_R_NO_SHARED_CIPHER, "there is no cipher that both sides accept"},
    {SSL_R_NO_APPLICATION_PROTOCOL, "there is no protocol (ALPN) that both sides speak"},
    {SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, "the peer refused the handshake"},
    {SSL_R_TLSV1_ALERT_UNKNOWN_CA, "the peer does not know who signed our certificate"},
    {SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, "the peer calls our certificate bad"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, "the peer says that our certificate has expired"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, "the peer says that our certificate is revoked"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, "the peer does not accept our certificate"},
    {SSL_R_TLSV1_ALERT_ACCESS_DENIED, "the peer denies us access"},
    {SSL_R_TLSV1_UNRECOGNIZED_NAME, "the peer does not know the name"},
    {SSL_R_TLSV1_ALERT_INTERNAL_ERROR, "the peer has an internal error"},
};

const char *tls_trouble_of_queue(void)
{
    unsigned long code = ERR_peek_last_error();
    if (ERR_GET_LIB(code) == ERR_LIB_SSL) {
        for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
            if (reasons[i].reason == ERR_GET_REASON(code))
                return reasons[i].words;
        /* No constant names this alert in OpenSSL 3.0: reasons of alerts are 1000 + their number.
         */
        if (ERR_GET_REASON(code) == SSL_AD_REASON_OFFSET + SSL_AD_NO_APPLICATION_PROTOCOL)
            return "there is no protocol (ALPN) that both sides speak";
    }
    const char *words = code ? ERR_reason_error_string(code) : NULL;
    return words ? words : "the peer broke TLS";
}

enum err tls_fail_handshake(struct tls *t, struct failure *why)
{
    unsigned long code = ERR_peek_last_error();
    int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    const char *whom = t->client ? t->host : "the client";
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
        return fail_certificate(t, SSL_get_verify_result(t->ssl), why);
    if (t->client && t->was_asked &&
        (reason == SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE ||
         reason == SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED ||
         reason == SSL_R_SSLV3_ALERT_BAD_CERTIFICATE))
        return fail(why, ERR_TLS, "%s asks for a client certificate, and none is configured", whom);
    return fail(why, ERR_TLS, "TLS with %s failed: %s", whom, tls_trouble_of_queue());
}

enum err tls_fail_file(struct failure *why, const char *what, const char *path)
{
    unsigned long code = ERR_peek_error(); /* the first tells more than its consequences */
    char words[128] = "it is empty or not PEM";
    if (code && ERR_SYSTEM_ERROR(code)) {
        const char *text = strerror_r(ERR_GET_REASON(code), words, sizeof words);
        return fail(why, ERR_TLS, "cannot read the %s %s: %s", what, path, text);
    }
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    int number = ERR_GET_REASON(code);
    bool is_no_pem =
        (ERR_GET_LIB(code) == ERR_LIB_PEM && number == PEM_R_NO_START_LINE) ||
        (ERR_GET_LIB(code) == ERR_LIB_X509 && number == X509_R_NO_CERTIFICATE_OR_CRL_FOUND);
    if (reason && !is_no_pem)
        snprintf(words, sizeof words, "%s", reason);
    return fail(why, ERR_TLS, "the %s %s cannot be used: %s", what, path, words);
}
