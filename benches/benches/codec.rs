//! The cost of RESP for one request: the server's own codec beside the crate `redis-protocol`, each in
//! its fastest ways.

mod brief;

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use larder_benches::load::requests::{Operation, Protocol, Requests, key};
use larder_server::{Reply, RequestLimits, RequestParser};
use redis_protocol::resp2::decode::{decode, decode_bytes_mut, decode_range};
use redis_protocol::resp2::encode::{encode_borrowed, extend_encode_borrowed};
use redis_protocol::resp2::types::{BorrowedFrame, RangeFrame};

/// Requests in a pipeline, each for another key.
const BATCH: u64 = 16;

fn batch(operation: Operation, value_bytes: usize) -> Vec<u8> {
    let requests = Requests::new(Protocol::Resp, operation, value_bytes);
    let mut bytes = Vec::new();
    (0..BATCH).for_each(|number| requests.push(&mut bytes, &key(number)));
    bytes
}

fn decode_requests(criterion: &mut Criterion) {
    for (name, operation, value_bytes) in [
        ("decode/GET", Operation::Get, 64),
        ("decode/SET of 64 bytes", Operation::Set, 64),
        ("decode/SET of 4096 bytes", Operation::Set, 4_096),
    ] {
        let bytes = batch(operation, value_bytes);
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(BATCH));
        group.bench_function("larder", |bencher| {
            let mut parser = RequestParser::default();
            let limits = RequestLimits::default();
            bencher.iter(|| {
                let mut rest = &*bytes;
                while let Some(len) = parser.parse(rest, &limits).expect("it is a request") {
                    parser.arguments(rest).for_each(|argument| {
                        black_box(argument);
                    });
                    parser.reset();
                    rest = &rest[len..];
                }
                assert!(rest.is_empty());
            });
        });
        group.bench_function("redis-protocol, ranges", |bencher| {
            bencher.iter(|| {
                let mut rest = &*bytes;
                while let Some((frame, len)) = decode_range(rest).expect("it is a frame") {
                    let RangeFrame::Array(arguments) = frame else { panic!("not an array") };
                    for argument in &arguments {
                        let RangeFrame::BulkString((start, end)) = *argument else {
                            panic!("not a bulk string")
                        };
                        black_box(&rest[start..end]);
                    }
                    rest = &rest[len..];
                }
                assert!(rest.is_empty());
            });
        });
        group.bench_function("redis-protocol, Bytes", |bencher| {
            bencher.iter_batched_ref(
                || BytesMut::from(&*bytes),
                |rest| {
                    while let Some(frame) = decode_bytes_mut(rest).expect("it is a frame") {
                        black_box(frame);
                    }
                    assert!(rest.is_empty());
                },
                criterion::BatchSize::SmallInput,
            );
        });
        group.bench_function("redis-protocol, owned", |bencher| {
            bencher.iter(|| {
                let mut rest = &*bytes;
                while let Some((frame, len)) = decode(rest).expect("it is a frame") {
                    black_box(frame);
                    rest = &rest[len..];
                }
                assert!(rest.is_empty());
            });
        });
        group.finish();
    }
}

fn encode_replies(criterion: &mut Criterion) {
    for value_bytes in [64, 4_096] {
        let value = vec![b'v'; value_bytes];
        let room = (value_bytes + 16) * usize::try_from(BATCH).expect("a small number");
        let mut group = criterion.benchmark_group(format!("encode/{value_bytes} bytes"));
        group.throughput(Throughput::Elements(BATCH));
        group.bench_function("larder", |bencher| {
            let mut output = Vec::with_capacity(room);
            bencher.iter(|| {
                output.clear();
                let mut reply = Reply::new(&mut output, larder_server::Protocol::Resp2);
                (0..BATCH).for_each(|_| reply.bulk(black_box(&value)));
                black_box(&mut output);
            });
        });
        group.bench_function("redis-protocol, into a slice", |bencher| {
            let mut output = vec![0; room];
            bencher.iter(|| {
                let mut at = 0;
                for _ in 0..BATCH {
                    let frame = BorrowedFrame::BulkString(black_box(&value));
                    // It returns where the frame ends.
                    at += encode_borrowed(&mut output[at..], &frame, false).expect("there is room");
                }
                black_box((at, &mut output));
            });
        });
        group.bench_function("redis-protocol, at the end of BytesMut", |bencher| {
            let mut output = BytesMut::with_capacity(room);
            bencher.iter(|| {
                output.clear();
                for _ in 0..BATCH {
                    let frame = BorrowedFrame::BulkString(black_box(&value));
                    extend_encode_borrowed(&mut output, &frame, false).expect("it grows");
                }
                black_box(&mut output);
            });
        });
        group.finish();
    }
}

criterion_group! { name = benches; config = brief::config(); targets = decode_requests, encode_replies }
criterion_main!(benches);
