#ifndef WEIR_BASE_MUTANT_H
#define WEIR_BASE_MUTANT_H

/* In the copy of the sources that tests/mutations makes, WEIR_MUTANT(n) stands at each place where
 * something can be left out. The environment says which one place is broken in this process
 * (WEIR_MUTANT, 0 for none); each place that is passed is marked, in a file that all processes of
 * a test share (WEIR_MUTANT_HITS). */
extern unsigned weir__mutant;
extern unsigned char *weir__mutant_hits;

static inline int weir__mutant_is(unsigned number)
{
    weir__mutant_hits[number] = 1;
    return __builtin_expect(weir__mutant == number, 0);
}

#define WEIR_MUTANT(number) weir__mutant_is(number)

#endif
