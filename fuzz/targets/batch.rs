//! Batches: no panic, bounds kept, and a good batch stays good when its payloads are sent again.
#![no_main]

use fanwheel::wire::batch::parse;
use fanwheel::wire::problem::Problem;
use fanwheel::wire::reply::append_json_string;
use libfuzzer_sys::fuzz_target;

const TOPICS_MAX: usize = 4;

fuzz_target!(|data: &[u8]| {
    match parse(data, TOPICS_MAX) {
        Ok(posts) => {
            assert!(!posts.is_empty());
            let lines = data.split(|&b| b == b'\n').count();
            assert!(posts.len() <= lines);
            assert!(posts.iter().map(|post| post.topics.len()).sum::<usize>() <= 2_048);
            for post in &posts {
                assert!((1..=TOPICS_MAX).contains(&post.topics.len()));
                for text in post.topics.iter().chain(&post.event).chain(&post.key) {
                    assert!(!text.is_empty() && !text.chars().any(char::is_control));
                }
                let mut line = b"{\"topic\":".to_vec();
                append_json_string(&mut line, &post.topics[0]);
                line.extend_from_slice(b",\"data\":");
                append_json_string(&mut line, &post.data);
                line.extend_from_slice(b"}\r\n");
                let again = parse(&line, TOPICS_MAX).expect("an encoded payload is good");
                assert_eq!((again.len(), &again[0].data), (1, &post.data));
            }
        }
        Err(problem) => {
            assert!(!problem.closes() && matches!(problem.status(), 400 | 413));
            assert!(problem.message().len() < 1_200);
            if let Problem::BadBatchLine { line, .. } = problem {
                assert!((1..=data.split(|&b| b == b'\n').count()).contains(&line));
            }
        }
    }
});
