//! One process of a round of bench/peers_bench, over Eclipse iceoryx2.
//!
//! usage: PROGRAM STAGE DIR INDEX WORK BYTES MESSAGES SLEEP NAME
//!
//! STAGE is the file behind `link_stage` of bench/link.h; the offsets below are
//! those that bench/link.h asserts.  INDEX 0 begins, the others receive.
//! Messages are made and read in place.  Who sleeps does so on a listener of
//! an event service, which each send notifies.
//!
//! SPDX-License-Identifier: MIT

use core::sync::atomic::{AtomicU64, Ordering};
use iceoryx2::port::{listener::Listener, notifier::Notifier};
use iceoryx2::port::{publisher::Publisher, subscriber::Subscriber};
use iceoryx2::prelude::*;
use std::time::Duration;

type Ipc = ipc::Service;

const LINE: usize = 128;
const WORKER_BYTES: usize = 3 * LINE;
const WORKERS: usize = 65;
const SAMPLES: usize = (3 * WORKERS + 1) * LINE;
const SAMPLE_ROOM: u64 = 1 << 18;
const STAGE_BYTES: usize = SAMPLES + 8 + 8 * SAMPLE_ROOM as usize;
const WINDOW: u64 = 32;
const HELLO: u64 = u64::MAX;

// ---- the stage ---------------------------------------------------------

#[derive(Clone, Copy)]
struct Stage {
    base: *mut u8,
    index: usize,
}

impl Stage {
    fn map(path: &str, index: usize) -> Stage {
        let name = std::ffi::CString::new(path).unwrap();
        unsafe {
            let fd = libc::open(name.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
            assert!(fd >= 0, "no stage");
            let base = libc::mmap(
                core::ptr::null_mut(),
                STAGE_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd,
                0,
            );
            assert!(base != libc::MAP_FAILED, "no memory");
            Stage { base: base.cast(), index }
        }
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        unsafe { &*self.base.add(offset).cast::<AtomicU64>() }
    }

    fn worker(&self, index: usize, offset: usize) -> &AtomicU64 {
        self.word(LINE + index * WORKER_BYTES + offset)
    }

    fn me(&self, offset: usize) -> &AtomicU64 {
        self.worker(self.index, offset)
    }

    fn got(&self, index: usize) -> &AtomicU64 {
        self.worker(index, 0)
    }

    fn met(&self, index: usize) -> &AtomicU64 {
        self.worker(index, LINE)
    }

    fn members(&self) -> u64 {
        self.word(8).load(Ordering::Acquire)
    }

    fn start(&self) {
        self.word(0).fetch_add(1, Ordering::AcqRel);
        while self.word(0).load(Ordering::Acquire) < self.members() {
            std::thread::yield_now();
        }
        self.me(LINE + 24).store(cpu_ns(libc::CLOCK_PROCESS_CPUTIME_ID), Ordering::Relaxed);
        self.me(LINE + 8).store(now_ns(), Ordering::Relaxed);
    }

    fn stop(&self) {
        self.me(LINE + 16).store(now_ns(), Ordering::Release);
        for i in 0..self.members() as usize {
            while self.worker(i, LINE + 16).load(Ordering::Acquire) == 0 {
                std::thread::sleep(Duration::from_micros(50));
            }
        }
        let before = self.me(LINE + 24).load(Ordering::Relaxed);
        let now = cpu_ns(libc::CLOCK_PROCESS_CPUTIME_ID);
        self.me(LINE + 24).store(now - before, Ordering::Relaxed);
    }

    fn die(&self, why: &str) -> ! {
        let bytes = why.as_bytes();
        unsafe {
            let to = self.base.add(LINE + self.index * WORKER_BYTES + LINE + 56);
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len().min(191));
            libc::_exit(1)
        }
    }

    fn sample(&self, ticks: u64) {
        let n = self.word(SAMPLES).load(Ordering::Relaxed);
        if n < SAMPLE_ROOM {
            self.word(SAMPLES + 8 + 8 * n as usize).store(ticks, Ordering::Relaxed);
            self.word(SAMPLES).store(n + 1, Ordering::Relaxed);
        }
    }
}

fn now_ns() -> u64 {
    cpu_ns(libc::CLOCK_MONOTONIC)
}

fn cpu_ns(clock: libc::clockid_t) -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(clock, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// As bench_ticks of bench/bench_stats.h.
fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::x86_64::_mm_lfence();
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(target_arch = "aarch64")]
    unsafe {
        let t: u64;
        core::arch::asm!("isb", "mrs {}, cntvct_el0", out(reg) t);
        t
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    now_ns()
}

// ---- links -------------------------------------------------------------

struct Way {
    stage: Stage,
    work: String,
    words: usize,
    messages: u64,
    sleep: bool,
    name: String,
}

struct Sender {
    publisher: Publisher<Ipc, [u64], ()>,
    notifier: Option<Notifier<Ipc>>,
    words: usize,
}

struct Receiver {
    subscriber: Subscriber<Ipc, [u64], ()>,
    listener: Option<Listener<Ipc>>,
}

/// The value, or the end of the process with the reason.
fn must<T, E: core::fmt::Debug>(way: &Way, what: &str, r: Result<T, E>) -> T {
    match r {
        Ok(value) => value,
        Err(e) => way.stage.die(&format!("iceoryx2: {what}: {e:?}")),
    }
}

fn service_name(way: &Way, back: bool, suffix: &str) -> ServiceName {
    let name = format!("{}/{}{}", way.name, back as u8, suffix);
    must(way, "name", ServiceName::new(&name))
}

macro_rules! open_messages {
    ($node:expr, $way:expr, $back:expr) => {
        must(
            $way,
            "service",
            $node
                .service_builder(&service_name($way, $back, ""))
                .publish_subscribe::<[u64]>()
                .enable_safe_overflow(false)
                .history_size(0)
                .subscriber_max_buffer_size(if $way.words > 8192 { 8 } else { 256 })
                .subscriber_max_borrowed_samples(2)
                .max_publishers(2)
                .max_subscribers(WORKERS)
                .max_nodes(WORKERS + 5)
                .open_or_create(),
        )
    };
}

macro_rules! open_event {
    ($node:expr, $way:expr, $back:expr) => {
        must(
            $way,
            "event service",
            $node
                .service_builder(&service_name($way, $back, "-bell"))
                .event()
                .max_notifiers(2)
                .max_listeners(WORKERS)
                .max_nodes(WORKERS + 5)
                .open_or_create(),
        )
    };
}

fn sender(node: &Node<Ipc>, way: &Way, back: bool) -> Sender {
    let service = open_messages!(node, way, back);
    let publisher = service
        .publisher_builder()
        .initial_max_slice_len(way.words)
        .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
        .create();
    let notifier = way.sleep.then(|| {
        let event = open_event!(node, way, back);
        must(way, "notifier", event.notifier_builder().create())
    });
    Sender { publisher: must(way, "publisher", publisher), notifier, words: way.words }
}

fn receiver(node: &Node<Ipc>, way: &Way, back: bool) -> Receiver {
    let listener = way.sleep.then(|| {
        let event = open_event!(node, way, back);
        must(way, "listener", event.listener_builder().create())
    });
    let service = open_messages!(node, way, back);
    let subscriber = service.subscriber_builder().create();
    Receiver { subscriber: must(way, "subscriber", subscriber), listener }
}

impl Sender {
    #[inline(always)]
    fn send(&self, way: &Way, number: u64) {
        let mut sample = must(way, "loan", self.publisher.loan_slice_uninit(self.words));
        for (i, word) in sample.payload_mut().iter_mut().enumerate() {
            word.write(number.wrapping_add(i as u64));
        }
        must(way, "send", unsafe { sample.assume_init() }.send());
        if let Some(notifier) = &self.notifier {
            must(way, "notify", notifier.notify());
        }
    }

    /// Say hello until the receivers [first, first + n) have got something.
    fn greet(&self, way: &Way, first: usize, n: usize) {
        let met = |i| way.stage.met(i).load(Ordering::Acquire) != 0;
        let (mut t, mut next) = (1u32, 1u32);
        while !(first..first + n).all(met) {
            if t == next {
                self.send(way, HELLO);
                next += t.min(1000);
            }
            t += 1;
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

impl Receiver {
    /// The number and the sum of what came.
    #[inline(always)]
    fn receive(&self, way: &Way) -> Option<(u64, u64)> {
        loop {
            if let Some(sample) = must(way, "receive", self.subscriber.receive()) {
                let words = sample.payload();
                let sum = words.iter().fold(0u64, |s, w| s.wrapping_add(*w));
                return Some((words[0], sum));
            }
            let listener = self.listener.as_ref()?;
            must(way, "wait", listener.blocking_wait(|_| {}));
        }
    }

    fn meet(&self, way: &Way) {
        while self.receive(way).is_none() {
            std::thread::yield_now();
        }
        way.stage.met(way.stage.index).store(1, Ordering::Release);
    }

    #[inline(always)]
    fn next(&self, way: &Way) -> u64 {
        loop {
            match self.receive(way) {
                Some((HELLO, _)) => (),
                Some((_, sum)) => return sum,
                None => core::hint::spin_loop(),
            }
        }
    }
}

// ---- the work ----------------------------------------------------------

fn check(way: &Way, sum: u64) {
    let (words, n) = (way.words as u64, way.messages);
    let numbers = if n % 2 == 1 { (n - 1) / 2 * n } else { n / 2 * (n - 1) };
    let pairs = words * (words - 1) / 2;
    let want = words.wrapping_mul(numbers).wrapping_add(n.wrapping_mul(pairs));
    if sum != want {
        way.stage.die("wrong checksum: messages were lost, doubled or torn");
    }
}

fn here(node: &Node<Ipc>, way: &Way) {
    let (out, back) = (sender(node, way, false), receiver(node, way, true));
    let mut sum = 0u64;
    out.greet(way, 1, 1);
    back.meet(way);
    way.stage.start();
    for i in 0..way.messages {
        let start = ticks();
        out.send(way, i);
        sum = sum.wrapping_add(back.next(way));
        let took = ticks() - start;
        if i >= way.messages / 10 {
            way.stage.sample(took);
        }
    }
    way.stage.stop();
    check(way, sum);
}

fn there(node: &Node<Ipc>, way: &Way) {
    let (come, out) = (receiver(node, way, false), sender(node, way, true));
    let mut sum = 0u64;
    come.meet(way);
    out.greet(way, 0, 1);
    way.stage.start();
    for i in 0..way.messages {
        sum = sum.wrapping_add(come.next(way));
        out.send(way, i);
    }
    way.stage.stop();
    check(way, sum);
}

fn produce(node: &Node<Ipc>, way: &Way) {
    let out = sender(node, way, false);
    out.greet(way, 1, 1);
    way.stage.start();
    for i in 0..way.messages {
        out.send(way, i);
    }
    way.stage.stop();
}

fn consume(node: &Node<Ipc>, way: &Way) {
    let come = receiver(node, way, false);
    let mut sum = 0u64;
    come.meet(way);
    way.stage.start();
    for _ in 0..way.messages {
        sum = sum.wrapping_add(come.next(way));
    }
    way.stage.stop();
    check(way, sum);
}

fn await_all(way: &Way, messages: u64) {
    let before = cpu_ns(libc::CLOCK_THREAD_CPUTIME_ID);
    for i in 1..way.stage.members() as usize {
        let mut tries = 0u32;
        while way.stage.got(i).load(Ordering::Acquire) < messages {
            tries += 1;
            if tries % 256 == 0 {
                std::thread::yield_now();
            } else {
                core::hint::spin_loop();
            }
        }
    }
    let idle = cpu_ns(libc::CLOCK_THREAD_CPUTIME_ID) - before;
    way.stage.me(LINE + 40).fetch_add(idle, Ordering::Relaxed);
}

fn publish(node: &Node<Ipc>, way: &Way) {
    let out = sender(node, way, false);
    out.greet(way, 1, way.stage.members() as usize - 1);
    way.stage.start();
    let mut i = 0;
    while i < way.messages {
        let (start, end) = (now_ns(), (i + WINDOW).min(way.messages));
        while i < end {
            out.send(way, i);
            i += 1;
        }
        way.stage.me(LINE + 32).fetch_add(now_ns() - start, Ordering::Relaxed);
        await_all(way, i);
    }
    way.stage.stop();
}

fn follow(node: &Node<Ipc>, way: &Way) {
    let come = receiver(node, way, false);
    let (mut sum, mut i, mut tries) = (0u64, 0, 0u32);
    come.meet(way);
    way.stage.start();
    while i < way.messages {
        match come.receive(way) {
            Some((HELLO, _)) => (),
            Some((_, s)) => {
                sum = sum.wrapping_add(s);
                i += 1;
                way.stage.got(way.stage.index).store(i, Ordering::Release);
            }
            None => {
                tries += 1;
                if tries % 16 == 0 {
                    std::thread::yield_now();
                }
            }
        }
    }
    way.stage.stop();
    check(way, sum);
}

fn open_node(way: &Way, dir: &str) -> Node<Ipc> {
    let mut config = Config::default();
    let driver = way.name.split('-').next().unwrap_or("0");
    let root = must(way, "path", Path::new(format!("{dir}/iceoryx2").as_bytes()));
    config.global.set_root_path(&root);
    config.global.node.cleanup_dead_nodes_on_creation = false;
    config.global.node.cleanup_dead_nodes_on_destruction = false;
    config.global.service.cleanup_dead_nodes_on_open = false;
    let prefix = format!("shmcomm-peers-{driver}-");
    config.global.prefix = must(way, "prefix", FileName::new(prefix.as_bytes()));
    let builder = NodeBuilder::new()
        .config(&config)
        .signal_handling_mode(SignalHandlingMode::Disabled);
    must(way, "node", builder.create::<Ipc>())
}

fn main() {
    let arg: Vec<String> = std::env::args().collect();
    assert!(arg.len() == 9, "started by bench/peers_bench only");
    let number = |i: usize| arg[i].parse::<u64>().expect("a number");
    let way = Way {
        stage: Stage::map(&arg[1], number(3) as usize),
        work: arg[4].clone(),
        words: number(5) as usize / 8,
        messages: number(6),
        sleep: number(7) != 0,
        name: arg[8].clone(),
    };
    set_log_level(LogLevel::Fatal);
    let node = open_node(&way, &arg[2]);
    let begins = way.stage.index == 0;
    match (way.work.as_str(), begins) {
        ("trip" | "asleep" | "one_core", true) => here(&node, &way),
        ("trip" | "asleep" | "one_core", false) => there(&node, &way),
        ("stream", true) => produce(&node, &way),
        ("stream", false) => consume(&node, &way),
        ("fanout", true) => publish(&node, &way),
        ("fanout", false) => follow(&node, &way),
        (work, _) => way.stage.die(&format!("iceoryx2: no work {work}")),
    }
}
