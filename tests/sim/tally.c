#include "tally.h"

static const char *const fault_names[] = {
#define FAULT_NAME(name, text) #name,
    SIM_FAULTS(FAULT_NAME)
#undef FAULT_NAME
};

void tally_add(struct tally *tally, const struct sim_outcome *outcome)
{
    uint64_t faults = 0;
    tally->runs++;
    tally->virtual_ns += outcome->virtual_ns;
    tally->records += outcome->records;
    tally->switches += outcome->switches;
    for (int fault = 0; fault < SIM_FAULT_COUNT; fault++)
        for (int operation = 0; operation < SIM_OPERATIONS; operation++) {
            tally->faults[fault][operation] += outcome->faults[fault][operation];
            faults += outcome->faults[fault][operation];
        }
    tally->quiet += faults == 0;
}

static uint64_t faults_sum(const struct tally *tally)
{
    uint64_t sum = 0;
    for (int fault = 0; fault < SIM_FAULT_COUNT; fault++)
        for (int operation = 0; operation < SIM_OPERATIONS; operation++)
            sum += tally->faults[fault][operation];
    return sum;
}

void tally_print(const struct tally *tally, double seconds, uint64_t base)
{
    uint64_t faults = faults_sum(tally);
    printf("\nfaults by kind and operation\n");
    for (int fault = 0; fault < SIM_FAULT_COUNT; fault++) {
        printf("  %-14s", fault_names[fault]);
        for (int operation = 0; operation < SIM_OPERATIONS; operation++)
            if (fault_occurs((enum sim_fault)fault, (enum sim_operation)operation))
                printf("  %s %llu", sim_operation_names[operation],
                       (unsigned long long)tally->faults[fault][operation]);
        printf("\n");
    }
    printf("\n%llu runs (%llu without a fault), %llu failed; %.1f virtual hours in %.1f s\n",
           (unsigned long long)tally->runs, (unsigned long long)tally->quiet,
           (unsigned long long)tally->failures, (double)tally->virtual_ns / 3.6e12, seconds);
    printf("%llu faults, %.0f a minute; %llu events, %llu changes of thread; base seed 0x%llx\n",
           (unsigned long long)faults, (double)faults * 60 / seconds,
           (unsigned long long)tally->records, (unsigned long long)tally->switches,
           (unsigned long long)base);
}

void tally_json(const struct tally *tally, double seconds, uint64_t base, FILE *out)
{
    const char *comma = "";
    fprintf(out,
            "{\n  \"base\": \"0x%llx\", \"runs\": %llu, \"quiet\": %llu, \"failures\": %llu,\n"
            "  \"seconds\": %.3f, \"virtual_seconds\": %.3f, \"events\": %llu,\n"
            "  \"switches\": %llu,\n  \"faults\": {",
            (unsigned long long)base, (unsigned long long)tally->runs,
            (unsigned long long)tally->quiet, (unsigned long long)tally->failures, seconds,
            (double)tally->virtual_ns / 1e9, (unsigned long long)tally->records,
            (unsigned long long)tally->switches);
    for (int fault = 0; fault < SIM_FAULT_COUNT; fault++) {
        const char *next = "";
        fprintf(out, "%s\n    \"%s\": {", comma, fault_names[fault]);
        for (int operation = 0; operation < SIM_OPERATIONS; operation++) {
            if (!fault_occurs((enum sim_fault)fault, (enum sim_operation)operation))
                continue;
            fprintf(out, "%s\"%s\": %llu", next, sim_operation_names[operation],
                    (unsigned long long)tally->faults[fault][operation]);
            next = ", ";
        }
        fprintf(out, "}");
        comma = ",";
    }
    fprintf(out, "\n  },\n  \"elsewhere\": {");
    comma = "";
    for (int fault = 0; fault < SIM_FAULT_COUNT; fault++) {
        fprintf(out, "%s\n    \"%s\": \"%s\"", comma, fault_names[fault],
                fault_nowhere_else((enum sim_fault)fault));
        comma = ",";
    }
    fprintf(out, "\n  }\n}\n");
}
