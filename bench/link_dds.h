/* link_dds.h - links of Eclipse Cyclone DDS 0.10: a reliable topic, by UDP over
 * the loopback interface.
 *
 * SPDX-License-Identifier: MIT                                            */
#ifndef SHMCOMM_BENCH_LINK_DDS_H
#define SHMCOMM_BENCH_LINK_DDS_H

#include "link_lib.h"

#if defined(__has_include)
#if __has_include(<dds/dds.h>)
#define LINK_HAS_DDS 1
#endif
#endif

#if LINK_HAS_DDS
#include <dds/dds.h>

LINK_FN(dds_create_domain); LINK_FN(dds_create_participant);
LINK_FN(dds_create_qos); LINK_FN(dds_create_readcondition);
LINK_FN(dds_create_reader); LINK_FN(dds_create_topic);
LINK_FN(dds_create_waitset); LINK_FN(dds_create_writer);
LINK_FN(dds_qset_history); LINK_FN(dds_qset_reliability);
LINK_FN(dds_return_loan); LINK_FN(dds_strretcode); LINK_FN(dds_take);
LINK_FN(dds_waitset_attach); LINK_FN(dds_waitset_wait); LINK_FN(dds_write);
LINK_FN(dds_write_flush); LINK_FN(dds_write_set_batch);

static const char dds_config[] =
    "<General><Interfaces><NetworkInterface name=\"lo\" multicast=\"false\"/>"
    "</Interfaces><AllowMulticast>false</AllowMulticast>"
    "<MaxMessageSize>65500B</MaxMessageSize>"
    "<FragmentSize>65000B</FragmentSize></General>"
    "<Discovery><ParticipantIndex>auto</ParticipantIndex>"
    "<MaxAutoParticipantIndex>120</MaxAutoParticipantIndex>"
    "<Peers><Peer Address=\"127.0.0.1\"/></Peers>"
    "<SPDPInterval>100ms</SPDPInterval></Discovery>"
    "<Internal><SocketReceiveBufferSize min=\"default\" max=\"4MB\"/></Internal>"
    "<Tracing><OutputFile>/dev/null</OutputFile></Tracing>";

typedef struct cyclone {
    dds_entity_t end, set;          /* writer or reader; where it sleeps    */
    const link_way *way;
    int batch;
} cyclone;

static void
cyclone_load(void)
{
    void *const l = link_load("libddsc.so.0debian");

    LINK_SYMBOL(l, dds_create_domain); LINK_SYMBOL(l, dds_create_participant);
    LINK_SYMBOL(l, dds_create_qos); LINK_SYMBOL(l, dds_create_readcondition);
    LINK_SYMBOL(l, dds_create_reader); LINK_SYMBOL(l, dds_create_topic);
    LINK_SYMBOL(l, dds_create_waitset); LINK_SYMBOL(l, dds_create_writer);
    LINK_SYMBOL(l, dds_qset_history); LINK_SYMBOL(l, dds_qset_reliability);
    LINK_SYMBOL(l, dds_return_loan); LINK_SYMBOL(l, dds_strretcode);
    LINK_SYMBOL(l, dds_take); LINK_SYMBOL(l, dds_waitset_attach);
    LINK_SYMBOL(l, dds_waitset_wait); LINK_SYMBOL(l, dds_write);
    LINK_SYMBOL(l, dds_write_flush); LINK_SYMBOL(l, dds_write_set_batch);
}

static dds_entity_t
cyclone_must(dds_entity_t r)
{
    if (r < 0) link_die("Cyclone DDS: %s", the_dds_strretcode(-r));
    return r;
}

/* What idlc would make of `struct m { uint64 word[N]; }`, for any N.      */
static dds_entity_t
cyclone_topic(dds_entity_t participant, const link_way *way, int back)
{
    static uint32_t ops[4];
    char name[64];

    ops[0] = DDS_OP_ADR | DDS_OP_TYPE_ARR | DDS_OP_SUBTYPE_8BY;
    ops[1] = 0;
    ops[2] = way->bytes / 8;
    ops[3] = DDS_OP_RTS;
    const dds_topic_descriptor_t type = {
        .m_size = way->bytes, .m_align = 8, .m_flagset = DDS_TOPIC_FIXED_SIZE,
        .m_typename = "message", .m_nops = 2, .m_ops = ops, .m_meta = ""
    };
    snprintf(name, sizeof name, "shmcomm_%d_%llu", back,
             (unsigned long long)way->number);
    return cyclone_must(the_dds_create_topic(participant, &type, name, NULL, NULL));
}

static void
cyclone_open(cyclone *l, const link_way *way, int back, int sender)
{
    static dds_entity_t participant;
    const dds_domainid_t domain = (dds_domainid_t)(getppid() % 200);

    if (participant == 0) {
        cyclone_load();
        cyclone_must(the_dds_create_domain(domain, dds_config));
        participant = cyclone_must(the_dds_create_participant(domain, NULL, NULL));
    }
    dds_qos_t *const qos = the_dds_create_qos();
    the_dds_qset_reliability(qos, DDS_RELIABILITY_RELIABLE, DDS_INFINITY);
    the_dds_qset_history(qos, DDS_HISTORY_KEEP_ALL, 0);
    const dds_entity_t topic = cyclone_topic(participant, way, back);
    l->way = way;
    l->set = 0;
    l->batch = way->work == LINK_STREAM && way->bytes <= 4096;
    the_dds_write_set_batch(l->batch);
    l->end = cyclone_must(sender
        ? the_dds_create_writer(participant, topic, qos, NULL)
        : the_dds_create_reader(participant, topic, qos, NULL));
    if (sender || !way->sleep) return;
    l->set = cyclone_must(the_dds_create_waitset(participant));
    cyclone_must(the_dds_waitset_attach(l->set, cyclone_must(
        the_dds_create_readcondition(l->end, DDS_ANY_STATE)), 0));
}

static bool
cyclone_send(cyclone *l, uint64_t number)
{
    link_fill(link_out, l->way->bytes, number);
    cyclone_must(the_dds_write(l->end, link_out));
    if (l->batch && (number == LINK_HELLO || number + 1 == l->way->messages))
        the_dds_write_flush(l->end);
    return true;
}

static bool
cyclone_recv(cyclone *l, link_got *got)
{
    void *sample[1] = { NULL };
    dds_sample_info_t info;
    int n;

    while ((n = the_dds_take(l->end, sample, &info, 1, 1)) == 0 ||
           (n > 0 && !info.valid_data)) {
        if (n > 0) the_dds_return_loan(l->end, sample, n);
        sample[0] = NULL;
        if (l->set == 0) return false;
        if (n == 0) the_dds_waitset_wait(l->set, NULL, 0, DDS_INFINITY);
    }
    cyclone_must(n);
    link_look(got, sample[0], l->way->bytes);
    the_dds_return_loan(l->end, sample, n);
    return true;
}

LINK_MANY(cyclone)
#define LINK_RUN_DDS LINK_RUN_MANY(cyclone)
#else
LINK_NO_HEADER(cyclone, "cyclonedds-dev")
#define LINK_RUN_DDS LINK_RUN_NONE(cyclone)
#endif

#endif /* SHMCOMM_BENCH_LINK_DDS_H */
