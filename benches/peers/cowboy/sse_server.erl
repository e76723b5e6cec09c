%% Server-sent events with Cowboy: a loop handler for each stream, an event encoded once (its binary is shared by
%% all streams), what waits in the mailbox leaves in one write, a timer each for heartbeats.
%%
%% usage: erl ... -s sse_server start PORT        environment: HEARTBEAT_MS (0 = none)
-module(sse_server).

-export([start/1, init/2, info/3, terminate/3]).

%% Keys {Topic, Pid}: one topic's streams stand together.
-define(STREAMS, streams).

%% The table of streams lives as long as the process that makes it.
start([Port]) ->
    spawn(fun() ->
        ?STREAMS = ets:new(?STREAMS, [ordered_set, public, named_table]),
        {ok, _} = listen(list_to_integer(atom_to_list(Port))),
        receive after infinity -> ok end
    end).

listen(Port) ->
    {ok, _} = application:ensure_all_started(cowboy),
    HeartbeatMs = list_to_integer(os:getenv("HEARTBEAT_MS", "0")),
    Dispatch = cowboy_router:compile([
        {'_', [
            {"/events", ?MODULE, {subscribe, HeartbeatMs}},
            {"/publish", ?MODULE, publish}
        ]}
    ]),
    Transport = #{
        max_connections => infinity,
        num_acceptors => 10,
        socket_opts => [
            {ip, {127, 0, 0, 1}},
            {port, Port},
            {backlog, 65535},
            {nodelay, true},
            {send_timeout, 15000},
            {send_timeout_close, true}
        ]
    },
    Protocol = #{
        env => #{dispatch => Dispatch},
        idle_timeout => infinity,
        inactivity_timeout => infinity,
        request_timeout => 600000,
        max_keepalive => infinity
    },
    cowboy:start_clear(http, Transport, Protocol).

init(Request, publish) ->
    {ok, Body, Read} = cowboy_req:read_body(Request),
    Frame = <<"data: ", Body/binary, "\n\n">>,
    Streams = ets:select(?STREAMS, [{{{topic(Request), '$1'}}, [], ['$1']}]),
    lists:foreach(fun(Stream) -> Stream ! {frame, Frame} end, Streams),
    {ok, cowboy_req:reply(202, Read), publish};
init(Request, {subscribe, HeartbeatMs}) ->
    %% So that terminate/3 is called when the connection ends.
    process_flag(trap_exit, true),
    Headers = #{<<"content-type">> => <<"text/event-stream">>, <<"cache-control">> => <<"no-cache">>},
    Stream = cowboy_req:stream_reply(200, Headers, Request),
    cowboy_req:stream_body(<<":ok\n\n">>, nofin, Stream),
    Key = {topic(Request), self()},
    true = ets:insert(?STREAMS, {Key}),
    beat_later(HeartbeatMs),
    %% Lets go of what the request needed; what follows needs little.
    {cowboy_loop, Stream, {HeartbeatMs, Key}, hibernate}.

info({frame, Frame}, Stream, State) ->
    cowboy_req:stream_body([Frame | waiting()], nofin, Stream),
    {ok, Stream, State};
info(heartbeat, Stream, {HeartbeatMs, _} = State) ->
    cowboy_req:stream_body(<<":\n">>, nofin, Stream),
    beat_later(HeartbeatMs),
    {ok, Stream, State};
info(_, Stream, State) ->
    {ok, Stream, State}.

terminate(_, _, {_, Key}) ->
    ets:delete(?STREAMS, Key),
    ok;
terminate(_, _, _) ->
    ok.

waiting() ->
    receive
        {frame, Frame} -> [Frame | waiting()]
    after 0 -> []
    end.

beat_later(0) -> ok;
beat_later(HeartbeatMs) -> erlang:send_after(HeartbeatMs, self(), heartbeat).

topic(Request) ->
    #{topic := Topic} = cowboy_req:match_qs([{topic, [], <<>>}], Request),
    Topic.
