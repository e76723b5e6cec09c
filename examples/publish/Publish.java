// Publishes one event: java Publish.java TOPIC TEXT. CONTROL is the server's control address.
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;

public class Publish {
    public static void main(String[] arguments) throws Exception {
        var control = System.getenv().getOrDefault("CONTROL", "http://127.0.0.1:8081");
        var url = control + "/publish?topic=" + URLEncoder.encode(arguments[0], StandardCharsets.UTF_8);
        var body = HttpRequest.BodyPublishers.ofString(arguments[1]);
        var request = HttpRequest.newBuilder(URI.create(url)).POST(body).build();
        var answer = HttpClient.newHttpClient().send(request, BodyHandlers.ofString());
        if (answer.statusCode() != 202) throw new IllegalStateException(answer + " " + answer.body());
    }
}
