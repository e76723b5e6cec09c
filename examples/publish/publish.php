<?php
// Publishes one event: php publish.php TOPIC TEXT. CONTROL is the server's control address.
$control = getenv('CONTROL') ?: 'http://127.0.0.1:8081';
$url = $control . '/publish?' . http_build_query(['topic' => $argv[1]]);
$options = ['method' => 'POST', 'content' => $argv[2], 'header' => 'Content-Type: text/plain'];
$answer = file_get_contents($url, false, stream_context_create(['http' => $options]));
if ($answer === false) {
    exit(1);
}
echo $answer, "\n";
