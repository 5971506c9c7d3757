#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/list.h"

struct item {
    int number;
    struct list node;
};

static void first_in_first_out(void **state)
{
    struct list head;
    struct item items[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
    list_init(&head);
    assert_true(list_empty(&head));
    assert_null(list_pop(&head));
    for (int i = 0; i < 3; i++) {
        list_init(&items[i].node);
        assert_true(list_empty(&items[i].node)); /* on no list */
        list_push(&head, &items[i].node);
    }
    list_remove(&items[1].node);
    list_remove(&items[1].node); /* harmless */
    assert_true(list_empty(&items[1].node));
    assert_int_equal(weir_container(list_pop(&head), struct item, node)->number, 0);
    assert_int_equal(weir_container(list_pop(&head), struct item, node)->number, 2);
    assert_true(list_empty(&head));
}

static void splicing_moves_all_in_order(void **state)
{
    struct list to, from, node[4];
    list_init(&to);
    list_init(&from);
    list_splice(&to, &from);
    assert_true(list_empty(&to));
    list_push(&to, &node[0]);
    list_push(&to, &node[1]);
    list_push(&from, &node[2]);
    list_push(&from, &node[3]);
    list_splice(&to, &from);
    assert_true(list_empty(&from));
    for (int i = 0; i < 4; i++)
        assert_ptr_equal(list_pop(&to), &node[i]);
    assert_null(list_pop(&to));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_in_first_out),
        cmocka_unit_test(splicing_moves_all_in_order),
    };
    return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
