/* certificates.h -- certificates made when the test runs, so that none ever expires in the tree. */
#ifndef PENSTOCK_TESTS_CERTIFICATES_H
#define PENSTOCK_TESTS_CERTIFICATES_H

#include "tests/test.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unistd.h>

struct certificate {
    X509 *x509;
    EVP_PKEY *key;
};

struct certificate_wish {
    const struct certificate *issuer; /* NULL: signs itself */
    const char *name;                 /* "DNS:a.example,IP:127.0.0.1"; NULL: an authority */
    int from_days, to_days;           /* counted from now */
    bool is_rsa;                      /* 4096 bits; else P-256 */
};

static inline void certificate_need(bool is_good, const char *what)
{
    if (is_good)
        return;
    printf("Bail out! certificates: %s\n", what);
    exit(1);
}

static inline void certificate_extend(X509 *x509, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, x509, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    certificate_need(e && X509_add_ext(x509, e, -1) == 1, value);
    X509_EXTENSION_free(e);
}

static inline struct certificate certificate_new(struct certificate_wish w)
{
    static long serial = 1000;
    struct certificate c = {X509_new(), w.is_rsa ? EVP_RSA_gen(4096) : EVP_EC_gen("P-256")};
    certificate_need(c.x509 && c.key, "key");
    X509_set_version(c.x509, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(c.x509), serial++);
    X509_gmtime_adj(X509_getm_notBefore(c.x509), w.from_days * 86400L);
    X509_gmtime_adj(X509_getm_notAfter(c.x509), w.to_days * 86400L);
    char common_name[32];
    snprintf(common_name, sizeof common_name, "test %ld", serial);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(c.x509), "CN", MBSTRING_ASC,
                               (const unsigned char *)common_name, -1, -1, 0);
    X509 *issuer = w.issuer ? w.issuer->x509 : c.x509;
    X509_set_issuer_name(c.x509, X509_get_subject_name(issuer));
    X509_set_pubkey(c.x509, c.key);
    certificate_extend(c.x509, issuer, NID_basic_constraints,
                       w.name ? "critical,CA:FALSE" : "critical,CA:TRUE");
    certificate_extend(c.x509, issuer, NID_subject_key_identifier, "hash");
    if (w.name)
        certificate_extend(c.x509, issuer, NID_subject_alt_name, w.name);
    certificate_need(X509_sign(c.x509, w.issuer ? w.issuer->key : c.key, EVP_sha256()) > 0, "sign");
    return c;
}

static inline void certificate_free(struct certificate *c)
{
    X509_free(c->x509);
    EVP_PKEY_free(c->key);
}

/* Where the test's files lie; removed at exit. */
static char certificate_folder[] = "/tmp/penstock-test-XXXXXX";
static char certificate_paths[64][64];
static int certificate_path_count;

static inline void certificate_clean_up(void)
{
    for (int i = 0; i < certificate_path_count; i++)
        unlink(certificate_paths[i]);
    rmdir(certificate_folder);
}

/* A path for a file of this name in the folder. */
static inline const char *certificate_path(const char *name)
{
    if (certificate_path_count == 0) {
        certificate_need(mkdtemp(certificate_folder) != NULL, "folder");
        atexit(certificate_clean_up);
    }
    char *path = certificate_paths[certificate_path_count++ % 64];
    snprintf(path, 64, "%s/%s", certificate_folder, name);
    return path;
}

/* Writes the certificate, those of `chain` (may be NULL), and the key where asked for. */
static inline const char *certificate_save(const char *name, const struct certificate *c,
                                           const struct certificate *chain)
{
    const char *path = certificate_path(name);
    FILE *f = fopen(path, "w");
    certificate_need(f != NULL, path);
    PEM_write_X509(f, c->x509);
    if (chain)
        PEM_write_X509(f, chain->x509);
    fclose(f);
    return path;
}

static inline const char *certificate_save_key(const char *name, const struct certificate *c)
{
    const char *path = certificate_path(name);
    FILE *f = fopen(path, "w");
    certificate_need(f != NULL, path);
    PEM_write_PrivateKey(f, c->key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    return path;
}

#endif
