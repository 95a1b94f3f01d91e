/* A self-test without Python: every instruction set of this CPU against plain integers and double loops, at random sizes
 * and extreme codes; batches against their texts alone; several callers at a time. Arrays have exactly the sizes that
 * `bertc.runtime.plan.plan_check` asks for, so that a sanitizer sees who reads beyond. Prints the instruction sets'
 * names; returns 0 if all is right. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

int main(int count, char **arguments) {
    const int rounds = count > 1 ? atoi(arguments[1]) : 30;
    char names[128];
    int wrong = 0;
    strncpy(names, bertc_instruction_sets(), sizeof names - 1);
    names[sizeof names - 1] = 0;
    for (const char *name = strtok(names, " "); name; name = strtok(NULL, " ")) {
        int here = 0;
        for (int round = 0; round < rounds; round++) {
            here += check_product(name, round % 8 == 0);
            here += check_bf16(name, round % 8 == 2);
            here += check_attention(name, round % 8 == 4);
            here += check_rotary(name, round % 8 == 2);
            here += check_norm(name, round % 8 == 6);
            here += check_activation(name, round % 8 == 6);
            here += check_exits(name);
        }
        printf("%s: %s\n", name, here ? "WRONG" : "right");
        wrong += here;
    }
    return wrong ? 1 : 0;
}
