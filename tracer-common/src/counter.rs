//! Every way in which a kernel program can leave, defined once.
//!
//! A counter's index in the kernel's per-CPU array, its name in outputs and metrics and its help
//! text all derive from this table. A counter is either plain information or a loss: something
//! that the user asked for and did not get.

macro_rules! counters {
    ($($variant:ident, $name:literal, $loss:literal, $help:literal;)*) => {
        /// One way a kernel program ends. The discriminant is the index in the `COUNTERS` map.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Counter {
            $($variant,)*
        }

        impl Counter {
            /// All counters, in index order.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant,)*];

            /// Stable name, used in outputs and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Counter::$variant => $name,)* }
            }

            /// Whether a hit means that something asked for is missing from the result.
            pub const fn is_loss(self) -> bool {
                match self { $(Counter::$variant => $loss,)* }
            }

            /// One sentence for the user.
            pub const fn help(self) -> &'static str {
                match self { $(Counter::$variant => $help,)* }
            }
        }
    };
}

counters! {
    Recorded, "recorded", false, "events counted under a stack";
    Stacks, "stacks", false, "distinct stacks kept";
    NotSelected, "not_selected", false, "hits in processes that were not selected";
    WrongBinary, "wrong_binary", false, "hits of probes that are attached for others: for another binary, or a second time for the same one";
    ZeroSize, "zero_size", false, "allocations of size 0, which the runtime does not allocate";
    Restarted, "restarted", false, "calls whose stack check failed: the function starts again, and is counted then";
    Forwarded, "forwarded", false, "calls between mallocgc and a size-specialised function, counted at the other";
    Truncated, "truncated_stacks", false, "events whose stack is deeper than 128 frames; the outermost are missing";
    Freed, "freed", false, "sampled objects that were freed during the recording";
    FreedUnknown, "freed_unknown", false, "sampled objects that were freed and had been allocated before the recording";
    OtherSpecial, "other_specials", false, "freed finalizers and the like, which are no samples";
    LabelsLeftOut, "labels_left_out", false, "events whose goroutine has more than 8 profiler labels; some are not shown";
    OverBudget, "over_budget", false, "hits of processes that had used up what the budget allows (--budget)";
    StepUnknown, "steps_unknown", false, "steps of iterations over maps that had begun before the recording, or were let go";
    IterationsFollowed, "iterations", false, "iterations over maps that were followed to their end";
    ResidentBegun, "resident_begun", false, "processes whose resident pages were first counted; the change that was the occasion is not in the result";
    GoroutineEnded, "goroutines_ended", false, "goroutines that were created during the recording and ended in it";
    GoroutineEndedUnknown, "goroutines_ended_older", false, "goroutines that ended and had been created before the recording, or found no room";
    NothingBuilt, "nothing_built", false, "calls that make or build a slice or string and neither copied nor asked for anything";
    NilPut, "nil_puts", false, "calls of sync.Pool's Put with nil, which it ignores";
    AssistNone, "no_assists", false, "calls to assist the collector within another one, whose time is that one's, or on a thread's own stack, where nobody assists";
    AssistUnknown, "assists_unknown", false, "assists of the collector that ended and had begun before the recording, or found no room (--max-goroutines)";
    Gone, "lost_exec_gap", true, "events after an exec, before the new program was known";
    StacksFull, "lost_stacks_full", true, "events dropped because the table of stacks is full (--max-stacks)";
    StackUnread, "lost_stack_unread", true, "events whose stack pointer could not be read";
    HashCollision, "lost_hash_collision", true, "events whose stack hash met a different stack";
    ScratchBusy, "lost_scratch_busy", true, "events that found every scratch buffer of their CPU in use";
    SpanUnread, "lost_span_unread", true, "span events whose span could not be read";
    ObjectsFull, "lost_objects_full", true, "sampled objects whose end will not be seen because the table of objects is full (--max-objects)";
    FreedFull, "lost_freed_full", true, "freed objects, or goroutines that ended, that were not counted because the table of stacks that end is full (--max-stacks)";
    LabelsUnread, "lost_labels_unread", true, "events that are counted without their goroutine's profiler labels, which could not be read";
    LabelsFull, "lost_labels_full", true, "events that are counted without their labels because the table of labels is full (--max-stacks)";
    CollectionUnread, "lost_collection_unread", true, "collections whose record could not be read at their end";
    CollectionsFull, "lost_collections_full", true, "collections whose record was dropped because the ring buffer is full";
    SpecialUnread, "lost_special_unread", true, "freed objects whose kind could not be read";
    MapUnread, "lost_map_unread", true, "iterations over maps whose number of elements could not be read";
    GoroutineUnread, "lost_goroutine_unread", true, "iterations over maps, or steps of them, that were not followed because their goroutine could not be read";
    GoroutinesFull, "lost_goroutines_full", true, "iterations over maps that were not followed because the table of goroutines is full (--max-goroutines)";
    NestFull, "lost_nest_full", true, "iterations over maps that were let go because 16 younger ones of their goroutine were under way";
    IterationsFull, "lost_iterations_full", true, "iterations over maps that are over and were not told because the ring buffer is full";
    CallUnread, "lost_call_unread", true, "system calls whose arguments could not be read";
    MappingsFull, "lost_mappings_full", true, "mappings whose end is not known because the ring buffer is full";
    ResidentUnread, "lost_resident_unread", true, "changes of resident pages whose number could not be read";
    ResidentFull, "lost_resident_full", true, "processes whose resident pages are not counted because the table of processes is full (--max-processes)";
    StartUnread, "lost_start_unread", true, "goroutines that are counted without their start function, which could not be read";
    LivingFull, "lost_living_full", true, "goroutines whose end will not be seen because the table of goroutines is full (--max-objects)";
    MoveUnread, "lost_move_unread", true, "moves of stacks whose goroutine could not be read";
    TypeUnread, "lost_type_unread", true, "values put into interfaces, and slices, that are not counted because their type could not be read";
    OperandsUnread, "lost_operands_unread", true, "concatenations of strings that are not counted because there are more than 128 operands, or they could not be read";
    ProcessesFull, "lost_processes_full", true, "programs that started while the table of processes was full (--max-processes)";
    NotifyFull, "lost_notify_full", true, "exec or exit notices dropped because the ring buffer is full; heaptap then looks for itself who runs";
    LeftOut, "lost_left_out", true, "events, of any process of this host, that the kernel did not show to a program that was under way already on that CPU for a task that had been preempted (recursion_misses)";
}

/// Number of counters: the size of the kernel's array.
pub const COUNTERS: u32 = Counter::ALL.len() as u32;
