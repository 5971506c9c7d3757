/* The table is sorted by extension, so that a search takes eight comparisons. Nobody looks into it
 * for a hot request: the type is kept with the cached file. */
#include "app/http/mime.h"

#include <string.h>

enum { EXTENSION_MAX = 11 };

struct mime {
    char extension[EXTENSION_MAX + 1];
    const char *type;
};

/* clang-format off */
static const struct mime table[] = {
    {"3g2", "video/3gpp2"},
    {"3gp", "video/3gpp"},
    {"7z", "application/x-7z-compressed"},
    {"a", "application/octet-stream"},
    {"aac", "audio/aac"},
    {"adoc", "text/x-asciidoc; charset=utf-8"},
    {"ai", "application/postscript"},
    {"aif", "audio/aiff"},
    {"aiff", "audio/aiff"},
    {"amr", "audio/amr"},
    {"apk", "application/vnd.android.package-archive"},
    {"apng", "image/apng"},
    {"appcache", "text/cache-manifest; charset=utf-8"},
    {"asc", "text/plain; charset=utf-8"},
    {"atom", "application/atom+xml"},
    {"avi", "video/x-msvideo"},
    {"avif", "image/avif"},
    {"bash", "application/x-sh"},
    {"bib", "text/x-bibtex; charset=utf-8"},
    {"bin", "application/octet-stream"},
    {"bmp", "image/bmp"},
    {"br", "application/x-brotli"},
    {"bz2", "application/x-bzip2"},
    {"c", "text/x-c; charset=utf-8"},
    {"cab", "application/vnd.ms-cab-compressed"},
    {"cc", "text/x-c++; charset=utf-8"},
    {"cer", "application/pkix-cert"},
    {"cfg", "text/plain; charset=utf-8"},
    {"cjs", "text/javascript; charset=utf-8"},
    {"cmake", "text/x-cmake; charset=utf-8"},
    {"conf", "text/plain; charset=utf-8"},
    {"cpio", "application/x-cpio"},
    {"cpp", "text/x-c++; charset=utf-8"},
    {"crl", "application/pkix-crl"},
    {"crt", "application/x-x509-ca-cert"},
    {"cs", "text/x-csharp; charset=utf-8"},
    {"css", "text/css; charset=utf-8"},
    {"csv", "text/csv; charset=utf-8"},
    {"cur", "image/x-icon"},
    {"cxx", "text/x-c++; charset=utf-8"},
    {"db", "application/octet-stream"},
    {"deb", "application/vnd.debian.binary-package"},
    {"der", "application/x-x509-ca-cert"},
    {"diff", "text/x-diff; charset=utf-8"},
    {"djvu", "image/vnd.djvu"},
    {"dll", "application/vnd.microsoft.portable-executable"},
    {"dmg", "application/x-apple-diskimage"},
    {"doc", "application/msword"},
    {"docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
    {"dotx", "application/vnd.openxmlformats-officedocument.wordprocessingml.template"},
    {"dtd", "application/xml-dtd"},
    {"elf", "application/x-elf"},
    {"eml", "message/rfc822"},
    {"eot", "application/vnd.ms-fontobject"},
    {"eps", "application/postscript"},
    {"epub", "application/epub+zip"},
    {"exe", "application/vnd.microsoft.portable-executable"},
    {"flac", "audio/flac"},
    {"flv", "video/x-flv"},
    {"geojson", "application/geo+json"},
    {"gif", "image/gif"},
    {"glb", "model/gltf-binary"},
    {"gltf", "model/gltf+json"},
    {"go", "text/x-go; charset=utf-8"},
    {"gpx", "application/gpx+xml"},
    {"gz", "application/gzip"},
    {"h", "text/x-c; charset=utf-8"},
    {"har", "application/json"},
    {"heic", "image/heic"},
    {"heif", "image/heif"},
    {"hpp", "text/x-c++; charset=utf-8"},
    {"htm", "text/html; charset=utf-8"},
    {"html", "text/html; charset=utf-8"},
    {"ico", "image/x-icon"},
    {"ics", "text/calendar; charset=utf-8"},
    {"img", "application/octet-stream"},
    {"ini", "text/plain; charset=utf-8"},
    {"ipa", "application/octet-stream"},
    {"iso", "application/x-iso9660-image"},
    {"jar", "application/java-archive"},
    {"java", "text/x-java; charset=utf-8"},
    {"jfif", "image/jpeg"},
    {"jp2", "image/jp2"},
    {"jpeg", "image/jpeg"},
    {"jpg", "image/jpeg"},
    {"jpx", "image/jpx"},
    {"js", "text/javascript; charset=utf-8"},
    {"json", "application/json"},
    {"json5", "application/json5"},
    {"jsonl", "application/jsonl"},
    {"jsonld", "application/ld+json"},
    {"jsx", "text/jsx; charset=utf-8"},
    {"jxl", "image/jxl"},
    {"kml", "application/vnd.google-earth.kml+xml"},
    {"kmz", "application/vnd.google-earth.kmz"},
    {"kt", "text/x-kotlin; charset=utf-8"},
    {"less", "text/x-less; charset=utf-8"},
    {"log", "text/plain; charset=utf-8"},
    {"lua", "text/x-lua; charset=utf-8"},
    {"lz4", "application/x-lz4"},
    {"m2ts", "video/mp2t"},
    {"m3u", "audio/x-mpegurl"},
    {"m3u8", "application/vnd.apple.mpegurl"},
    {"m4a", "audio/mp4"},
    {"m4s", "video/iso.segment"},
    {"m4v", "video/mp4"},
    {"map", "application/json"},
    {"markdown", "text/markdown; charset=utf-8"},
    {"mbox", "application/mbox"},
    {"md", "text/markdown; charset=utf-8"},
    {"mht", "message/rfc822"},
    {"mid", "audio/midi"},
    {"midi", "audio/midi"},
    {"mjs", "text/javascript; charset=utf-8"},
    {"mka", "audio/x-matroska"},
    {"mkv", "video/x-matroska"},
    {"mml", "application/mathml+xml"},
    {"mobi", "application/x-mobipocket-ebook"},
    {"mov", "video/quicktime"},
    {"mp3", "audio/mpeg"},
    {"mp4", "video/mp4"},
    {"mpd", "application/dash+xml"},
    {"mpeg", "video/mpeg"},
    {"mpg", "video/mpeg"},
    {"msi", "application/x-msi"},
    {"mtl", "model/mtl"},
    {"ndjson", "application/x-ndjson"},
    {"o", "application/octet-stream"},
    {"obj", "model/obj"},
    {"odg", "application/vnd.oasis.opendocument.graphics"},
    {"odp", "application/vnd.oasis.opendocument.presentation"},
    {"ods", "application/vnd.oasis.opendocument.spreadsheet"},
    {"odt", "application/vnd.oasis.opendocument.text"},
    {"oga", "audio/ogg"},
    {"ogg", "audio/ogg"},
    {"ogv", "video/ogg"},
    {"opus", "audio/ogg"},
    {"otf", "font/otf"},
    {"p12", "application/x-pkcs12"},
    {"p7b", "application/x-pkcs7-certificates"},
    {"parquet", "application/vnd.apache.parquet"},
    {"patch", "text/x-diff; charset=utf-8"},
    {"pcap", "application/vnd.tcpdump.pcap"},
    {"pcapng", "application/x-pcapng"},
    {"pdf", "application/pdf"},
    {"pem", "application/x-pem-file"},
    {"pfx", "application/x-pkcs12"},
    {"pl", "text/x-perl; charset=utf-8"},
    {"png", "image/png"},
    {"ppt", "application/vnd.ms-powerpoint"},
    {"pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"},
    {"proto", "text/x-protobuf; charset=utf-8"},
    {"ps", "application/postscript"},
    {"psd", "image/vnd.adobe.photoshop"},
    {"py", "text/x-python; charset=utf-8"},
    {"rar", "application/vnd.rar"},
    {"rb", "text/x-ruby; charset=utf-8"},
    {"rdf", "application/rdf+xml"},
    {"rpm", "application/x-rpm"},
    {"rs", "text/x-rust; charset=utf-8"},
    {"rss", "application/rss+xml"},
    {"rst", "text/x-rst; charset=utf-8"},
    {"rtf", "application/rtf"},
    {"s", "text/x-asm; charset=utf-8"},
    {"scss", "text/x-scss; charset=utf-8"},
    {"sh", "application/x-sh"},
    {"shtml", "text/html; charset=utf-8"},
    {"sig", "application/pgp-signature"},
    {"so", "application/octet-stream"},
    {"sql", "application/sql"},
    {"sqlite", "application/vnd.sqlite3"},
    {"srt", "application/x-subrip"},
    {"stl", "model/stl"},
    {"svg", "image/svg+xml"},
    {"svgz", "image/svg+xml"},
    {"swf", "application/x-shockwave-flash"},
    {"swift", "text/x-swift; charset=utf-8"},
    {"tar", "application/x-tar"},
    {"tex", "text/x-tex; charset=utf-8"},
    {"text", "text/plain; charset=utf-8"},
    {"tgz", "application/gzip"},
    {"tif", "image/tiff"},
    {"tiff", "image/tiff"},
    {"toml", "application/toml"},
    {"topojson", "application/json"},
    {"torrent", "application/x-bittorrent"},
    {"ts", "text/x-typescript; charset=utf-8"},
    {"tsv", "text/tab-separated-values; charset=utf-8"},
    {"tsx", "text/x-typescript; charset=utf-8"},
    {"ttc", "font/collection"},
    {"ttf", "font/ttf"},
    {"ttl", "text/turtle; charset=utf-8"},
    {"txt", "text/plain; charset=utf-8"},
    {"usdz", "model/vnd.usdz+zip"},
    {"vcard", "text/vcard; charset=utf-8"},
    {"vcf", "text/vcard; charset=utf-8"},
    {"vtt", "text/vtt; charset=utf-8"},
    {"vue", "text/x-vue; charset=utf-8"},
    {"war", "application/java-archive"},
    {"wasm", "application/wasm"},
    {"wav", "audio/wav"},
    {"wbmp", "image/vnd.wap.wbmp"},
    {"weba", "audio/webm"},
    {"webm", "video/webm"},
    {"webmanifest", "application/manifest+json"},
    {"webp", "image/webp"},
    {"wmv", "video/x-ms-wmv"},
    {"woff", "font/woff"},
    {"woff2", "font/woff2"},
    {"wsdl", "application/wsdl+xml"},
    {"xhtml", "application/xhtml+xml"},
    {"xls", "application/vnd.ms-excel"},
    {"xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
    {"xml", "application/xml"},
    {"xsd", "application/xml"},
    {"xsl", "application/xslt+xml"},
    {"xslt", "application/xslt+xml"},
    {"xz", "application/x-xz"},
    {"yaml", "application/yaml"},
    {"yml", "application/yaml"},
    {"zip", "application/zip"},
    {"zst", "application/zstd"},
};
/* clang-format on */

enum { TABLE_COUNT = sizeof(table) / sizeof(table[0]) };

size_t weir__mime_count(void)
{
    return TABLE_COUNT;
}

const char *weir__mime_extension(size_t i)
{
    return table[i].extension;
}

const char *weir__mime_type(size_t i)
{
    return table[i].type;
}

/* Copies the extension in small letters. Returns its length, or 0 when there is none, or one that
 * is longer than any that is known. A name that only begins with a dot has no extension. */
static size_t extension_of(const char *path, size_t size, char *extension)
{
    size_t length = 0;

    while (length < size && path[size - 1 - length] != '.') {
        if (path[size - 1 - length] == '/' || path[size - 1 - length] == '\0' ||
            length == EXTENSION_MAX)
            return 0;
        length++;
    }
    if (length + 1 >= size || path[size - length - 2] == '/')
        return 0;
    for (size_t i = 0; i < length; i++) {
        char c = path[size - length + i];
        extension[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    extension[length] = '\0';
    return length;
}

const char *weir__mime_of(struct http_text path)
{
    char extension[EXTENSION_MAX + 1];
    size_t low = 0, high = TABLE_COUNT;
    size_t length = extension_of(path.at, path.length, extension);

    if (length == 0)
        return MIME_DEFAULT;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strncmp(extension, table[middle].extension, length + 1);
        if (order == 0)
            return table[middle].type;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return MIME_DEFAULT;
}
