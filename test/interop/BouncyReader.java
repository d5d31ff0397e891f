import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.FileReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.Key;
import java.security.PrivateKey;
import java.security.Security;
import java.util.ArrayList;
import java.util.List;
import javax.crypto.Cipher;
import javax.crypto.spec.GCMParameterSpec;
import org.bouncycastle.asn1.ASN1OctetString;
import org.bouncycastle.asn1.cms.AuthEnvelopedData;
import org.bouncycastle.asn1.cms.CMSObjectIdentifiers;
import org.bouncycastle.asn1.cms.ContentInfo;
import org.bouncycastle.asn1.cms.GCMParameters;
import org.bouncycastle.asn1.pkcs.PrivateKeyInfo;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;
import org.bouncycastle.asn1.x509.SubjectPublicKeyInfo;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cms.CMSAuthEnvelopedData;
import org.bouncycastle.cms.CMSEnvelopedData;
import org.bouncycastle.cms.CMSException;
import org.bouncycastle.cms.CMSProcessableByteArray;
import org.bouncycastle.cms.CMSSignedData;
import org.bouncycastle.cms.KeyAgreeRecipientId;
import org.bouncycastle.cms.KeyTransRecipientId;
import org.bouncycastle.cms.Recipient;
import org.bouncycastle.cms.RecipientInformation;
import org.bouncycastle.cms.RecipientInformationStore;
import org.bouncycastle.cms.SignerInformation;
import org.bouncycastle.cms.jcajce.JcaSimpleSignerInfoVerifierBuilder;
import org.bouncycastle.cms.RecipientOperator;
import org.bouncycastle.cms.jcajce.JceKeyAgreeEnvelopedRecipient;
import org.bouncycastle.cms.jcajce.JceKeyAgreeRecipient;
import org.bouncycastle.cms.jcajce.JceKeyTransAuthEnvelopedRecipient;
import org.bouncycastle.cms.jcajce.JceKeyTransEnvelopedRecipient;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.openssl.PEMParser;
import org.bouncycastle.openssl.jcajce.JcaPEMKeyConverter;
import org.bouncycastle.operator.InputDecryptor;
import org.bouncycastle.operator.jcajce.JcaContentVerifierProviderBuilder;

/**
 * Opens CMS with BouncyCastle, one after the other in one virtual machine. A request is one line on stdin of four paths with
 * tabs between them: certificate, private key (PEM), message (DER), where the content goes. The answer is one line: "ok", or
 * "no" with a reason. Content is written only when all of it, and the tag of AuthEnvelopedData, was good. A request that begins with
 * "verify" is of SignedData: certificate of the CA, certificate of the signer, signature (DER or BER), what is signed beside it or "-",
 * where the content goes.
 */
public final class BouncyReader {
    private static final String PROVIDER = BouncyCastleProvider.PROVIDER_NAME;

    public static void main(String[] arguments) throws IOException {
        Security.addProvider(new BouncyCastleProvider());
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            String[] paths = line.split("\t");
            try {
                boolean signed = paths[0].equals("verify");
                byte[] content = signed
                    ? verified(certificate(paths[1]), certificate(paths[2]), Files.readAllBytes(Path.of(paths[3])), paths[4])
                    : open(certificate(paths[0]), key(paths[1]), Files.readAllBytes(Path.of(paths[2])));
                Files.write(Path.of(paths[signed ? 5 : 3]), content);
                System.out.println("ok");
            } catch (Exception e) {
                System.out.println("no " + reasons(e));
            }
            System.out.flush();
        }
    }

    private static byte[] open(X509CertificateHolder certificate, PrivateKey key, byte[] der) throws Exception {
        ContentInfo info = ContentInfo.getInstance(der);
        if (CMSObjectIdentifiers.envelopedData.equals(info.getContentType())) {
            RecipientInformation mine = find(new CMSEnvelopedData(info).getRecipientInfos(), certificate);
            return mine.getContent(isEc(key)
                ? new JceKeyAgreeEnvelopedRecipient(key).setProvider(PROVIDER)
                : new JceKeyTransEnvelopedRecipient(key).setProvider(PROVIDER));
        }
        if (CMSObjectIdentifiers.authEnvelopedData.equals(info.getContentType())) {
            RecipientInformation mine = find(new CMSAuthEnvelopedData(info).getRecipientInfos(), certificate);
            if (!isEc(key)) return mine.getContent(new JceKeyTransAuthEnvelopedRecipient(key).setProvider(PROVIDER));
            return mine.getContent((Recipient) new KeyAgreeAead(key, AuthEnvelopedData.getInstance(info.getContent())).setProvider(PROVIDER));
        }
        throw new CMSException("content type " + info.getContentType());
    }

    /** What was signed, by the signer and nobody else, whose certificate is in it and of the CA. */
    private static byte[] verified(X509CertificateHolder ca, X509CertificateHolder expected, byte[] der, String beside) throws Exception {
        CMSSignedData data = beside.equals("-")
            ? new CMSSignedData(der)
            : new CMSSignedData(new CMSProcessableByteArray(Files.readAllBytes(Path.of(beside))), der);
        if (data.getSignerInfos().size() != 1) throw new CMSException(data.getSignerInfos().size() + " signers");
        for (SignerInformation signer : data.getSignerInfos()) {
            X509CertificateHolder certificate = null;
            for (X509CertificateHolder one : data.getCertificates().getMatches(null)) if (signer.getSID().match(one)) certificate = one;
            if (!expected.equals(certificate)) throw new CMSException("signed with another certificate");
            if (!certificate.isSignatureValid(new JcaContentVerifierProviderBuilder().setProvider(PROVIDER).build(ca)))
                throw new CMSException("the certificate is not of the CA");
            if (!signer.verify(new JcaSimpleSignerInfoVerifierBuilder().setProvider(PROVIDER).build(certificate)))
                throw new CMSException("the signature is wrong");
        }
        ByteArrayOutputStream content = new ByteArrayOutputStream();
        data.getSignedContent().write(content);
        return content.toByteArray();
    }

    /** The RecipientInfo that names this certificate by issuer and serial number. */
    private static RecipientInformation find(RecipientInformationStore store, X509CertificateHolder certificate) throws CMSException {
        RecipientInformation found = store.get(new KeyTransRecipientId(certificate.getIssuer(), certificate.getSerialNumber()));
        if (found == null) found = store.get(new KeyAgreeRecipientId(certificate.getIssuer(), certificate.getSerialNumber()));
        if (found == null) throw new CMSException("no RecipientInfo names this certificate");
        return found;
    }

    private static boolean isEc(PrivateKey key) {
        return key.getAlgorithm().startsWith("EC");
    }

    private static X509CertificateHolder certificate(String path) throws IOException {
        try (PEMParser pem = new PEMParser(new FileReader(path))) {
            return (X509CertificateHolder) pem.readObject();
        }
    }

    private static PrivateKey key(String path) throws IOException {
        try (PEMParser pem = new PEMParser(new FileReader(path))) {
            return new JcaPEMKeyConverter().setProvider(PROVIDER).getPrivateKey((PrivateKeyInfo) pem.readObject());
        }
    }

    private static String reasons(Throwable thrown) {
        List<String> texts = new ArrayList<>();
        for (Throwable t = thrown; t != null; t = t.getCause()) texts.add(t.toString().replaceAll("\\s+", " "));
        return String.join(" <- ", texts);
    }

    /**
     * BouncyCastle 1.72 agrees on keys, and opens AuthEnvelopedData, but has no class that does both. The content is decrypted in one
     * piece, so that nothing of it is given away before the tag was verified.
     */
    private static final class KeyAgreeAead extends JceKeyAgreeRecipient {
        private final AuthEnvelopedData message;

        KeyAgreeAead(PrivateKey key, AuthEnvelopedData message) {
            super(key);
            this.message = message;
        }

        @Override
        public RecipientOperator getRecipientOperator(AlgorithmIdentifier wrap, AlgorithmIdentifier content,
                SubjectPublicKeyInfo sender, ASN1OctetString ukm, byte[] wrapped) throws CMSException {
            Key key = extractSecretKey(wrap, content, sender, ukm, wrapped);
            return new RecipientOperator(new InputDecryptor() {
                @Override
                public AlgorithmIdentifier getAlgorithmIdentifier() {
                    return content;
                }

                @Override
                public InputStream getInputStream(InputStream ignored) {
                    return new java.io.ByteArrayInputStream(decrypt(key, content));
                }
            });
        }

        private byte[] decrypt(Key key, AlgorithmIdentifier content) {
            try {
                if (message.getAuthAttrs() != null) throw new CMSException("authAttrs, which this reader does not verify");
                GCMParameters gcm = GCMParameters.getInstance(content.getParameters());
                byte[] mac = message.getMac().getOctets();
                if (mac.length != gcm.getIcvLen()) throw new CMSException("MAC of " + mac.length + " octets, not " + gcm.getIcvLen());
                Cipher cipher = Cipher.getInstance(content.getAlgorithm().getId(), PROVIDER);
                cipher.init(Cipher.DECRYPT_MODE, key, new GCMParameterSpec(8 * mac.length, gcm.getNonce()));
                byte[] encrypted = message.getAuthEncryptedContentInfo().getEncryptedContent().getOctets();
                byte[] both = java.util.Arrays.copyOf(encrypted, encrypted.length + mac.length);
                System.arraycopy(mac, 0, both, encrypted.length, mac.length);
                return cipher.doFinal(both);
            } catch (Exception e) {
                throw new IllegalStateException("the content does not open", e);
            }
        }
    }
}
