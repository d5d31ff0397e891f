#!/usr/bin/perl
# What must be inside the seal, computed a second time by a program that shares nothing with the relay: a client stream
# (after dot-unstuffing, any line ends) on stdin, the exact octets of the inner entity on stdout.
#
#   expected-entity.pl [--subject keep|replace] [--from keep|replace] [--message-id keep|replace] < stream > entity
#
# Exit 2 on a usage error, 1 on a stream on which the rules say nothing.
use strict;
use warnings;

use constant LOOK_AHEAD => 64 * 1024;

# Fields that stay outside, and fields that are dropped since every reader of a message shares its inside.
my %outside = map { $_ => 1 } qw(from sender reply-to to cc date message-id in-reply-to references subject
    auto-submitted precedence importance received);
my %dropped = map { $_ => 1 } qw(return-path delivered-to x-original-to envelope-to x-envelope-to
    apparently-to dkim-signature x-rcpt-to x-delivered-to x-forwarded-to x-original-recipient original-recipient
    x-receiver x-envelope-recipient x-apparently-to);
# A second one of these would let two readers see two messages.
my %single = map { $_ => 1 } qw(content-type content-transfer-encoding);

# RFC 3629 section 4, octet for octet.
my $tail = qr/[\x80-\xBF]/;
my $utf8 = qr/(?:[\x00-\x7F]
    | [\xC2-\xDF]$tail
    | \xE0[\xA0-\xBF]$tail | [\xE1-\xEC\xEE\xEF]$tail{2} | \xED[\x80-\x9F]$tail
    | \xF0[\x90-\xBF]$tail{2} | [\xF1-\xF3]$tail{3} | \xF4[\x80-\x8F]$tail{2})/x;
# What a character looks like when the look-ahead ends within it.
my $cut = qr/(?:[\xC2-\xF4]
    | \xE0[\xA0-\xBF] | [\xE1-\xEC\xEE\xEF]$tail | \xED[\x80-\x9F]
    | \xF0[\x90-\xBF]$tail? | [\xF1-\xF3]$tail{1,2} | \xF4[\x80-\x8F]$tail?)/x;

# The fields whose place outside something else takes: the original goes inside.
my %replaced = replaced_fields(@ARGV);
binmode STDIN;
binmode STDOUT;
my $stream = do { local $/; <STDIN> } // '';
$stream =~ s/\r\n|\r|\n/\r\n/g;

my ($header, $body) = split_header($stream);
my ($kept, $has) = inner_fields($header);
push @$kept, labels($body, $has);
print @$kept, "\r\n", $body;
close STDOUT or die "stdout: $!\n";

sub replaced_fields {
    my @words = @_;
    my %fields;
    while (@words) {
        my ($option, $choice) = splice @words, 0, 2;
        my ($name) = $option =~ /\A--(subject|from|message-id)\z/;
        if (!defined $name || !defined $choice || $choice !~ /\A(?:keep|replace)\z/) {
            print STDERR "usage: expected-entity.pl [--subject|--from|--message-id keep|replace]... < stream > entity\n";
            exit 2;
        }
        next if $choice eq 'keep';
        $fields{$name} = 1;
        $fields{sender} = 1 if $name eq 'from';
    }
    return %fields;
}

# The top header block ends at the first empty line; without one, everything is header and the body is empty.
sub split_header {
    my ($text) = @_;
    return ('', substr($text, 2)) if substr($text, 0, 2) eq "\r\n";
    my $end = index($text, "\r\n\r\n");
    return (substr($text, 0, $end + 2), substr($text, $end + 4)) if $end >= 0;
    $text .= "\r\n" unless $text eq '' || $text =~ /\r\n\z/;
    return ($text, '');
}

# The fields that stay inside, in their order and octets, and the set of names that are among them.
sub inner_fields {
    my ($block) = @_;
    my (@fields, @kept, %has);
    for my $line ($block =~ /(.*?\r\n)/gs) {
        if ($line =~ /\A[ \t]/ && @fields) { $fields[-1] .= $line; next }
        push @fields, $line;
    }
    for my $field (@fields) {
        my ($name) = $field =~ /\A([\x21-\x39\x3B-\x7E]+)[ \t]*:/ or fail("a header line without a name");
        $name = lc $name;
        next if $dropped{$name} || $name =~ /\Aarc-|(?:\A|-)bcc\z/;
        next if ($outside{$name} || $name =~ /\Alist-/) && !$replaced{$name};
        next if $single{$name} && $has{$name};
        $has{$name} = 1;
        push @kept, $field;
    }
    return (\@kept, \%has);
}

# 8-bit text that nobody labelled is labelled by what its start looks like.
sub labels {
    my ($text, $has) = @_;
    my $ahead = substr($text, 0, LOOK_AHEAD);
    return () if $has->{'content-type'} || $ahead !~ /[\x80-\xFF]/;
    my $was_cut = length($text) > LOOK_AHEAD;
    my $charset = is_utf8($ahead, $was_cut) ? 'utf-8' : 'windows-1252';
    my @fields = ("Content-Type: text/plain; charset=$charset\r\n");
    push @fields, "Content-Transfer-Encoding: 8bit\r\n" unless $has->{'content-transfer-encoding'};
    return @fields;
}

# Only where the body goes on behind the look-ahead can its last character be there in part.
sub is_utf8 {
    my ($octets, $was_cut) = @_;
    pos($octets) = 0;
    1 while $octets =~ /\G$utf8{1,1000}/gc;
    my $rest = substr($octets, pos($octets));
    return 1 if $rest eq '';
    return $was_cut && $rest =~ /\A$cut\z/;
}

sub fail {
    print STDERR "expected-entity.pl: $_[0]\n";
    exit 1;
}
