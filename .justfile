# The same commands as .ci/run, by name. `just` lists them.

# List the recipes
default:
    @just --list

# Everything that a change must pass
ci:
    .ci/run

# The main job: the healthcare pipeline over a simulated hospital
run *ARGS:
    cargo run --release --bin healthcare -- run {{ARGS}}

# All tests
test:
    cargo test --workspace

# Formatting, dependency direction, file sizes, lints
check:
    cargo fmt --all -- --check
    .ci/dependencies
    .ci/sizes
    cargo clippy --workspace --all-targets -- -D warnings

# Format the sources
fmt:
    cargo fmt --all

# The main job on bounded input, in the test profile
main-job:
    .ci/main-job

# One of the examples: just example word_count
example NAME *ARGS:
    cargo run -p thalweg-examples --bin {{NAME}} -- {{ARGS}}

# A Kafka to try the pipeline on, with its topics; `just kafka-down` stops it
kafka:
    docker compose -f docs/compose/compose.yaml up -d kafka create-topics

# Stop that Kafka and whatever else of the compose file runs; its data is kept
kafka-down:
    docker compose -f docs/compose/compose.yaml --profile '*' down
