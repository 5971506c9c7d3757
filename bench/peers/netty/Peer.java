// netty: one event loop, on its native epoll transport where the package has it, else on NIO; answers
// are flushed once for all that was read. See settings.md.
import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.PooledByteBufAllocator;
import io.netty.buffer.Unpooled;
import io.netty.channel.Channel;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelOption;
import io.netty.channel.DefaultFileRegion;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.AdaptiveRecvByteBufAllocator;
import io.netty.channel.ServerChannel;
import io.netty.channel.epoll.Epoll;
import io.netty.channel.epoll.EpollEventLoopGroup;
import io.netty.channel.epoll.EpollServerSocketChannel;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.DefaultHttpResponse;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponse;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpServerCodec;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.HttpVersion;
import io.netty.handler.codec.http.LastHttpContent;
import io.netty.util.AsciiString;
import io.netty.util.ReferenceCountUtil;
import java.io.File;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.concurrent.TimeUnit;

public final class Peer {
    private static final class Tcp extends ChannelInboundHandlerAdapter {
        private final String job;

        Tcp(String job) {
            this.job = job;
        }

        @Override
        public void channelRead(ChannelHandlerContext context, Object data) {
            if (job.equals("sink")) {
                ReferenceCountUtil.release(data);
            } else if (job.equals("accept")) {
                context.write(data).addListener(ChannelFutureListener.CLOSE);
            } else {
                context.write(data, context.voidPromise());
            }
        }

        @Override
        public void channelReadComplete(ChannelHandlerContext context) {
            context.flush();
        }

        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
            context.close();
        }
    }

    private static final class Web extends ChannelInboundHandlerAdapter {
        private static final ByteBuf BODY = Unpooled.unreleasableBuffer(
            Unpooled.directBuffer().writeBytes("Hello, World!\n".getBytes(StandardCharsets.US_ASCII)));
        private static final AsciiString TYPE = AsciiString.cached("text/plain");
        private static AsciiString date = now();
        private final String folder;

        Web(String folder) {
            this.folder = folder;
        }

        static AsciiString now() {
            return new AsciiString(DateTimeFormatter.RFC_1123_DATE_TIME.format(
                ZonedDateTime.now(ZoneOffset.UTC)));
        }

        static void tick() {
            date = now();
        }

        @Override
        public void channelRead(ChannelHandlerContext context, Object message) {
            if (message instanceof HttpRequest) {
                HttpRequest request = (HttpRequest) message;
                if (request.uri().startsWith("/files/")) {
                    sendFile(context, request);
                } else {
                    sendBody(context, request);
                }
            }
            ReferenceCountUtil.release(message);
        }

        private void finish(ChannelHandlerContext context, HttpRequest request, Object last) {
            if (HttpUtil.isKeepAlive(request)) {
                context.write(last, context.voidPromise());
            } else {
                context.write(last).addListener(ChannelFutureListener.CLOSE);
            }
        }

        private void sendBody(ChannelHandlerContext context, HttpRequest request) {
            FullHttpResponse response = new DefaultFullHttpResponse(
                HttpVersion.HTTP_1_1, HttpResponseStatus.OK, BODY.duplicate(), false);
            response.headers().set(HttpHeaderNames.CONTENT_TYPE, TYPE)
                .set(HttpHeaderNames.DATE, date)
                .setInt(HttpHeaderNames.CONTENT_LENGTH, BODY.readableBytes());
            if (!HttpUtil.isKeepAlive(request)) {
                response.headers().set(HttpHeaderNames.CONNECTION, HttpHeaderValues.CLOSE);
            }
            finish(context, request, response);
        }

        private void sendFile(ChannelHandlerContext context, HttpRequest request) {
            File file = new File(folder, new File(request.uri()).getName());
            HttpResponse response = new DefaultHttpResponse(
                HttpVersion.HTTP_1_1, HttpResponseStatus.OK, false);
            response.headers().set(HttpHeaderNames.DATE, date)
                .set(HttpHeaderNames.CONTENT_LENGTH, file.length());
            context.write(response, context.voidPromise());
            context.write(new DefaultFileRegion(file, 0, file.length()));
            finish(context, request, LastHttpContent.EMPTY_LAST_CONTENT);
        }

        @Override
        public void channelReadComplete(ChannelHandlerContext context) {
            context.flush();
        }

        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
            context.close();
        }
    }

    public static void main(String[] args) throws Exception {
        if (args.length < 2) {
            System.err.println("usage: Peer PORT echo|accept|sink|http [FOLDER]");
            System.exit(64);
        }
        String job = args[1];
        boolean epoll = Epoll.isAvailable();
        EventLoopGroup loop = epoll ? new EpollEventLoopGroup(1) : new NioEventLoopGroup(1);
        Class<? extends ServerChannel> kind =
            epoll ? EpollServerSocketChannel.class : NioServerSocketChannel.class;
        if (job.equals("http")) {
            loop.scheduleAtFixedRate(Web::tick, 1, 1, TimeUnit.SECONDS);
        }
        System.out.println(epoll ? "epoll" : "nio");
        new ServerBootstrap().group(loop).channel(kind)
            .option(ChannelOption.SO_BACKLOG, 4096)
            .option(ChannelOption.SO_REUSEADDR, true)
            .childOption(ChannelOption.TCP_NODELAY, true)
            .childOption(ChannelOption.ALLOCATOR, PooledByteBufAllocator.DEFAULT)
            .childOption(ChannelOption.RCVBUF_ALLOCATOR,
                new AdaptiveRecvByteBufAllocator(64, 2048, job.equals("sink") ? 262144 : 65536))
            .childHandler(new ChannelInitializer<Channel>() {
                @Override
                protected void initChannel(Channel channel) {
                    if (job.equals("http")) {
                        channel.pipeline().addLast(
                            new HttpServerCodec(4096, 8192, 8192, false), new Web(args[2]));
                    } else {
                        channel.pipeline().addLast(new Tcp(job));
                    }
                }
            })
            .bind(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0]))).sync();
    }
}
